"""E-mail by SMTP: tried again when the server is busy, rejected when it says no, and never sent twice in silence."""

import contextlib
import email.policy
import os
import smtplib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, parseaddr
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import Field

from offload import Context, File, Reject, Retry, RetryLater, job

# Whose server it is, is for those who run this to say, never for who asks: smtp://user:password@mail.example.com:587
SERVER_VARIABLE = "SMTP_URL"
SENDER_VARIABLE = "MAIL_FROM"
PAUSE_VARIABLE = "SMTP_PAUSE_SECONDS"
PAUSE_SECONDS = 60.0  # doubled with each attempt; servers that "greylist" want some minutes
CONNECT_SECONDS = 30
ATTACHMENT_BYTES_MAX = 20_000_000

Address = Annotated[str, Field(pattern=r"^[!-~]{1,64}@[A-Za-z0-9.-]{1,255}$", examples=["ada@example.com"])]
OneLine = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\r\n]*$")]


@dataclass
class Sent:
    """What was handed over; `attempt` above 1 says that an earlier attempt may have got through as well."""

    to: str
    message_id: str
    attempt: int
    server_said: str


@job(queue="mail", timeout=120, retry=Retry(max_attempts=8))
def send_email(to: Address, subject: OneLine, text: str, attachment: File | None = None, *, ctx: Context) -> Sent:
    """Send an e-mail to one address: so that one that is refused never means a second copy for another."""
    message = written(to, subject, text, attachment, ctx)
    try:
        with connected() as server:
            said = handed_over(server, message, ctx)
    except smtplib.SMTPAuthenticationError:
        raise  # our own password is wrong, which is nothing that the caller can put right
    except smtplib.SMTPRecipientsRefused as error:
        raise refusal(*error.recipients[to], ctx) from error
    except smtplib.SMTPResponseException as error:
        raise refusal(error.smtp_code, error.smtp_error, ctx) from error
    except (smtplib.SMTPServerDisconnected, OSError) as error:
        raise RetryLater(pause_seconds(ctx), f"the mail server cannot be reached: {error}") from error
    return Sent(to=to, message_id=message["Message-ID"], attempt=ctx.attempt, server_said=said)


def written(to: str, subject: str, text: str, attachment: File | None, ctx: Context) -> EmailMessage:
    """Return the message; each attempt has the same Message-ID, by which mail servers and readers know a copy."""
    sender = os.environ.get(SENDER_VARIABLE, "offload@localhost")
    message = EmailMessage(policy=email.policy.SMTP)
    message["From"], message["To"], message["Subject"] = sender, to, subject
    message["Date"] = formatdate()
    message["Message-ID"] = f"<{ctx.task_id}@{parseaddr(sender)[1].rpartition('@')[2]}>"
    if ctx.attempt > 1:
        message["Offload-Attempt"] = str(ctx.attempt)  # there may be an earlier copy
    message.set_content(text)
    if attachment is not None:
        if attachment.size > ATTACHMENT_BYTES_MAX:
            raise Reject(
                f"{attachment.name} has {attachment.size:,} bytes; at most {ATTACHMENT_BYTES_MAX:,} can be sent"
            )
        kind, _, subkind = attachment.type.partition(";")[0].partition("/")
        message.add_attachment(attachment.read_bytes(), maintype=kind, subtype=subkind, filename=attachment.name)
    return message


@contextlib.contextmanager
def connected() -> Iterator[smtplib.SMTP]:
    """Connect, encrypt where the server can, and sign in; a password never goes over a wire in the clear."""
    if SERVER_VARIABLE not in os.environ:
        raise Reject(f"no mail server is set up: set {SERVER_VARIABLE}, and serve with --child-env {SERVER_VARIABLE}")
    url = urlsplit(os.environ[SERVER_VARIABLE])
    host, safe = url.hostname or "localhost", ssl.create_default_context()
    server = (
        smtplib.SMTP_SSL(host, url.port or 465, timeout=CONNECT_SECONDS, context=safe)
        if url.scheme == "smtps"
        else smtplib.SMTP(host, url.port or 25, timeout=CONNECT_SECONDS)
    )
    with server:
        server.ehlo()
        if url.scheme != "smtps" and (url.username or server.has_extn("starttls")):
            server.starttls(context=safe)  # raises where there is none
            server.ehlo()
        if url.username:
            server.login(unquote(url.username), unquote(url.password or ""))
        yield server


def handed_over(server: smtplib.SMTP, message: EmailMessage, ctx: Context) -> str:
    """Hand the message over and return what the server says; from its last line on it may have been sent."""
    code, said = server.mail(parseaddr(message["From"])[1])
    if code != 250:
        raise smtplib.SMTPSenderRefused(code, said, message["From"])
    code, said = server.rcpt(message["To"])
    if code not in (250, 251):
        raise smtplib.SMTPRecipientsRefused({message["To"]: (code, said)})
    try:
        code, said = server.data(message.as_bytes())
    except (smtplib.SMTPServerDisconnected, OSError):
        ctx.log(f"the connection broke before the server confirmed: {message['Message-ID']} may arrive twice")
        raise
    if code != 250:
        raise smtplib.SMTPDataError(code, said)
    return said.decode(errors="replace")


def refusal(code: int, said: bytes | str, ctx: Context) -> Exception:
    """Return what a refusal means: 4xx is "not now", 5xx is "never"."""
    words = f"the mail server said {code} {said.decode(errors='replace') if isinstance(said, bytes) else said}"
    return RetryLater(pause_seconds(ctx), words) if 400 <= code < 500 else Reject(words)


def pause_seconds(ctx: Context) -> float:
    return float(os.environ.get(PAUSE_VARIABLE, PAUSE_SECONDS)) * 2.0 ** (ctx.attempt - 1)
