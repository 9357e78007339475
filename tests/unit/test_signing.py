"""Signatures of callbacks: what we sign, the two reference verifiers and our own accept, and nothing else."""

import base64
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook as StandardWebhook
from standardwebhooks.webhooks import WebhookVerificationError as StandardRefusal
from svix.webhooks import Webhook as SvixWebhook
from svix.webhooks import WebhookVerificationError as SvixRefusal

from offload.core.errors import WrongValue
from offload.core.signing import Signer, secret_bytes, secret_text, signed
from offload.testing import WrongSignature, verify

DELIVERIES = 10_000
REFUSALS = (StandardRefusal, SvixRefusal, WrongSignature)
Verifier = Callable[[str, Mapping[str, str], bytes], Any]


def by_standard(secret: str, fields: Mapping[str, str], body: bytes) -> None:
    StandardWebhook(secret).verify(body, dict(fields))


def by_svix(secret: str, fields: Mapping[str, str], body: bytes) -> None:
    SvixWebhook(secret).verify(body, dict(fields))


def by_ours(secret: str, fields: Mapping[str, str], body: bytes) -> None:
    verify(fields, body, secret)


def random_body(chance: random.Random) -> bytes:
    """Return JSON, which the reference verifiers parse, with any text in it."""
    text = "".join(chr(chance.choice([chance.randrange(32, 127), chance.randrange(0xA0, 0xD7FF)])) for _ in range(9))
    quoted = text.replace("\\", "").replace('"', "")
    return f'{{"type": "task.done", "n": {chance.random()}, "text": "{quoted}"}}'.encode()


def random_message(chance: random.Random) -> tuple[str, dict[str, str], bytes]:
    secret = secret_text(chance.randbytes(chance.randrange(24, 65)))
    body = random_body(chance)
    return secret, signed([secret], f"msg_{chance.randbytes(8).hex()}_3", int(time.time()), body), body


def altered(
    chance: random.Random, secret: str, fields: dict[str, str], body: bytes
) -> tuple[str, dict[str, str], bytes]:
    """Change one thing of a message."""
    kind = chance.randrange(6)
    if kind == 0:
        at = chance.choice([at for at, byte in enumerate(body) if byte < 128])  # it stays UTF-8: they decode it first
        other = chance.choice([byte for byte in b"0123456789" if byte != body[at]])
        return secret, fields, body[:at] + bytes([other]) + body[at + 1 :]
    if kind == 1:
        return secret, {**fields, "webhook-id": fields["webhook-id"] + chance.choice("0a_")}, body
    if kind == 2:
        moved = int(fields["webhook-timestamp"]) + chance.choice([-299, -1, 1, 200])
        return secret, {**fields, "webhook-timestamp": str(moved)}, body
    if kind == 3:
        version, _, signature = fields["webhook-signature"].partition(",")
        raw = bytearray(base64.b64decode(signature))
        raw[chance.randrange(32)] ^= 1 << chance.randrange(8)
        return secret, {**fields, "webhook-signature": f"{version},{base64.b64encode(raw).decode()}"}, body
    if kind == 4:
        return secret_text(chance.randbytes(32)), fields, body
    return secret, {**fields, "webhook-signature": fields["webhook-signature"].replace("v1,", "v2,")}, body


@pytest.mark.parametrize("verifier", [by_standard, by_svix, by_ours])
def test_a_verifier_accepts_every_delivery_and_refuses_every_altered_one(verifier: Verifier) -> None:
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(DELIVERIES):
        secret, fields, body = random_message(chance)
        verifier(secret, fields, body)
        changed = altered(chance, secret, fields, body)
        try:
            verifier(*changed)
        except REFUSALS:
            continue
        raise AssertionError(f"accepted: {changed}, made of {(secret, fields, body)}")


@pytest.mark.parametrize("verifier", [by_standard, by_svix, by_ours])
def test_while_a_secret_rotates_both_verify(verifier: Verifier) -> None:
    old, new = secret_text(b"o" * 32), secret_text(b"n" * 24)
    fields = signed([new, old], "msg_1_2", int(time.time()), b"{}")
    verifier(old, fields, b"{}")
    verifier(new, fields, b"{}")


@pytest.mark.parametrize("seconds", [-301, 302])
@pytest.mark.parametrize("verifier", [by_standard, by_svix, by_ours])
def test_a_signature_of_another_time_is_refused(verifier: Verifier, seconds: int) -> None:
    secret = secret_text(b"s" * 32)
    with pytest.raises(REFUSALS):
        verifier(secret, signed([secret], "msg_1_2", int(time.time()) + seconds, b"{}"), b"{}")


def test_a_message_may_come_in_pieces() -> None:
    secret = secret_text(b"s" * 32)
    signer = Signer([secret], "msg_1_2", 1_000)
    for piece in (b"{", b"", b"}"):
        signer.update(piece)
    assert signer.headers() == signed([secret], "msg_1_2", 1_000, b"{}")


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_message_without_a_field_is_refused_and_says_which(name: str) -> None:
    secret = secret_text(b"s" * 32)
    fields = signed([secret], "msg_1_2", int(time.time()), b"{}")
    with pytest.raises(WrongSignature, match=name):
        verify({key: value for key, value in fields.items() if key != name}, b"{}", secret)
    with pytest.raises(WrongSignature):
        verify({**fields, name: "²"}, b"{}", secret)


def test_names_of_fields_may_be_written_in_any_case() -> None:
    secret = secret_text(b"s" * 32)
    fields = signed([secret], "msg_1_2", 1_000, b"{}")
    verify({name.title(): value for name, value in fields.items()}, b"{}", secret, now=1_200.0)


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_***", "whsec_" + "A" * 200])
def test_a_secret_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(WrongValue, match="secret"):
        secret_bytes(text)
