"""Signatures of callbacks as Standard Webhooks 1.0 defines them: HMAC-SHA256 over id, time and body."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

from offload.core.errors import WrongValue
from offload.core.task import Record, Seconds

PREFIX = "whsec_"
SECRET_BYTES = 32
SECRET_BYTES_MIN, SECRET_BYTES_MAX = 24, 64


class Secret(Record, frozen=True, kw_only=True):
    """What the server and an owner's receivers share."""

    owner: str
    text: str
    """`whsec_` and base64 of the bytes."""
    created_at: Seconds
    until: Seconds | None = None
    """When it stops being valid; None for the newest."""


def secret_text(random_bytes: bytes) -> str:
    assert SECRET_BYTES_MIN <= len(random_bytes) <= SECRET_BYTES_MAX
    return PREFIX + base64.b64encode(random_bytes).decode()


def secret_bytes(text: str) -> bytes:
    """Return the key that a secret stands for. Raise WrongValue."""
    try:
        found = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (ValueError, binascii.Error):
        found = b""
    if not SECRET_BYTES_MIN <= len(found) <= SECRET_BYTES_MAX:
        raise WrongValue("secret", f"must be {PREFIX} and base64 of {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes")
    return found


class Signer:
    """Signs one message, which may come in pieces, with every secret that is valid."""

    def __init__(self, secrets: Sequence[str], message_id: str, at: int) -> None:
        assert "." not in message_id
        head = f"{message_id}.{at}.".encode()
        self._digests = [hmac.new(secret_bytes(text), head, hashlib.sha256) for text in secrets]
        self._fields = {"webhook-id": message_id, "webhook-timestamp": str(at)}

    def update(self, piece: bytes) -> None:
        for digest in self._digests:
            digest.update(piece)

    def headers(self) -> dict[str, str]:
        """Return the three fields; all pieces have been given."""
        signatures = (f"v1,{base64.b64encode(digest.digest()).decode()}" for digest in self._digests)
        return {**self._fields, "webhook-signature": " ".join(signatures)}


def signed(secrets: Sequence[str], message_id: str, at: int, body: bytes) -> dict[str, str]:
    """Return the header fields that sign a whole message."""
    signer = Signer(secrets, message_id, at)
    signer.update(body)
    return signer.headers()
