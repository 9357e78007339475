"""The gallery's jobs that deal with servers of others: each promise against a real server that misbehaves."""

import email
import email.policy
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

import offload
from offload.loading import load_module
from tests.servers import Server

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TASK_ID = "8c0f4c7e-3b1d-4f6a-9e2b-5d7a1c9e0f34"
TASK_SECONDS = 60.0


@pytest.fixture(scope="module")
def stand_ins() -> Any:
    return load_module(str(EXAMPLES / "stand_ins.py"))


@pytest.fixture
def catcher(stand_ins: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    catcher = stand_ins.MailCatcher()
    monkeypatch.setenv("SMTP_URL", catcher.url)
    monkeypatch.setenv("MAIL_FROM", "The shop <shop@example.com>")
    with stand_ins.running(catcher):
        yield catcher


def send(to: str, *, attempt: int = 1, attachment: offload.File | None = None) -> Any:
    ctx = offload.Context(task_id=TASK_ID, attempt=attempt)
    text = "Hello\n.\n.. and it goes on after a line with a dot"
    return load_module(str(EXAMPLES / "mail.py")).send_email(to, "Grüße", text, attachment, ctx=ctx)


def parsed(data: bytes) -> EmailMessage:
    return email.message_from_bytes(data, policy=email.policy.default)


def test_an_e_mail_arrives_whole_with_its_attachment(catcher: Any) -> None:
    picture = offload.File(EXAMPLES / "data" / "cat.jpg")
    sent = send("ada@example.com", attachment=picture)
    (message,) = map(parsed, catcher.messages)
    assert (message["Subject"], message["To"], message["From"]) == (
        "Grüße",
        "ada@example.com",
        "The shop <shop@example.com>",
    )
    assert message["Message-ID"] == sent.message_id == f"<{TASK_ID}@example.com>"
    body = message.get_body()
    assert body is not None and ".. and it goes on" in body.get_content() and "\r\n.\r\n" in body.get_content()
    (attached,) = message.iter_attachments()
    assert (attached.get_filename(), attached.get_content_type()) == ("cat.jpg", "image/jpeg")
    assert attached.get_content() == picture.read_bytes()


def test_a_busy_mail_server_is_asked_again_later_and_a_refusal_is_final(catcher: Any) -> None:
    with pytest.raises(offload.RetryLater, match="451 busy") as busy:
        send("busy@example.com")
    with pytest.raises(offload.RetryLater) as still_away:
        catcher.seen.clear()
        send("busy@example.com", attempt=3)
    assert (busy.value.seconds, still_away.value.seconds) == (60, 240)
    with pytest.raises(offload.Reject, match="550 nobody"):
        send("nobody@example.com")
    assert catcher.messages == []


def test_a_mail_server_that_is_away_is_asked_again_later(catcher: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_URL", "smtp://127.0.0.1:1")
    with pytest.raises(offload.RetryLater, match="cannot be reached"):
        send("ada@example.com")


def test_a_copy_says_that_it_is_one(catcher: Any) -> None:
    with pytest.raises(offload.RetryLater):
        send("lost@example.com")
    assert send("lost@example.com", attempt=2).attempt == 2
    first, second = map(parsed, catcher.messages)
    assert first["Message-ID"] == second["Message-ID"]
    assert (first["Offload-Attempt"], second["Offload-Attempt"]) == (None, "2")


def test_a_password_is_not_sent_in_the_clear(catcher: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_URL", catcher.url.replace("//", "//ada:secret@"))
    with pytest.raises(Exception, match="STARTTLS"):
        send("ada@example.com")
    assert catcher.messages == []


@pytest.mark.deadline(120)
def test_mail_and_postcards_through_a_server_that_runs_all_examples(stand_ins: Any, tmp_path: Path) -> None:
    catcher, shop = stand_ins.MailCatcher(), stand_ins.PrintShop(orders_per_second=4, seconds_each=0.02)
    theirs = {"SMTP_URL": catcher.url, "SMTP_PAUSE_SECONDS": "0.1", "POSTCARD_SHOP_URL": shop.url}
    server = Server(EXAMPLES / "everything.py", tmp_path / "data", "--child-env", ",".join(theirs), env=theirs)
    with stand_ins.running(catcher), stand_ins.running(shop), server, offload.Client(server.url) as client:
        mails = [
            client.submit("send_email", to=f"{name}@example.com", subject="s", text="t") for name in ("busy", "lost")
        ]
        texts = [f"card {number}" for number in range(9)] + ["this answer is lost"]
        cards = [client.submit("order_postcard", to="Ada", text=text) for text in texts]
        rude = client.submit("order_postcard", to="Ada", text="far too rude")
        assert [mail.result(TASK_SECONDS)["attempt"] for mail in mails] == [2, 2]
        orders = [card.result(TASK_SECONDS) for card in cards]
        with pytest.raises(offload.TaskFailed, match="we do not print that") as refused:
            rude.result(TASK_SECONDS)
        assert "may arrive twice" in mails[1].logs()
    assert refused.value.reason == "rejected"
    assert len({order["number"] for order in orders}) == len(shop.orders) == len(texts), "each was ordered once"
    assert orders[-1]["known"] and orders[-1]["attempt"] > 1
    assert shop.at_once_most <= 4
    assert len(catcher.messages) == 3  # one to busy@, two copies to lost@


def test_when_to_come_back_is_read_as_seconds_and_as_a_date() -> None:
    read = load_module(str(EXAMPLES / "third_party.py")).retry_after_seconds
    assert read("7") == 7
    assert read("99999") == 3600, "nobody makes us wait for a day"
    assert read("-1") is None and read("soon") is None and read(None) is None
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert 90 < read(later) <= 100
    assert read("Sun, 06 Nov 1994 08:49:37 GMT") == 0
