"""Stores a request whole and makes it a task; the application hears of it later, in a worker process."""

import hashlib
import re
import uuid

import msgspec
from starlette.responses import Response

from offload.core.errors import BodyTooLarge
from offload.core.task import FileRef
from offload.engine.orders import Order
from offload.engine.writing import whole, write_all
from offload.http import intake, jobs
from offload.http.access import share
from offload.http.call import Call
from offload.http.options import from_header
from offload.http.prefer import read_preferences
from offload.http.present import SECRET_TYPE
from offload.http.uploads import Staging, create, safe_type
from offload.wrap.apps.messages import SECRET_FIELDS, Head, redacted
from offload.wrap.apps.routes import IDEMPOTENT
from offload.wrap.heads import head_of

_OURS = re.compile(r"\s*(respond-async|wait|return)\s*(=|;|$)", re.IGNORECASE)
"""Preferences that this server has honoured; the application would honour them once more."""


class RequestCall(Call):
    """A request to the application: its body may be anything, encoded as it likes."""

    def check_body(self, bytes_max: int) -> None:
        length = self.content_length
        if length is not None and length > bytes_max:
            raise BodyTooLarge("the body", bytes_max)


async def submit(call: Call) -> Response:
    """Make a task of the request. Room is reserved before the body is read."""
    engine = call.engine
    job = engine.catalog.find(call.parameters["job"])
    options = from_header(call)
    call.check_body(call.config.upload_bytes_max)
    wished = read_preferences(call.header(b"prefer"), call.config.wait_seconds_max)
    ticket = intake.Ticket(id=str(uuid.uuid4()), job=job, options=options)
    size = call.content_length or 0
    with await share(call, tasks=1, size=size) as held, engine.admit(job.name, body_bytes=size) as place:
        async with Staging(engine.blobs, f"t/{ticket.id}/in", call.config.upload_bytes_max) as staging:
            order = await _order(call, ticket, staging)
            added = await create(call, order, place, staging)
        held.keep(added)
    return await jobs.answer(call, added, wished)


async def _order(call: Call, ticket: intake.Ticket, staging: Staging) -> Order:
    body = await _body(call, staging)
    head = _to_keep(head_of(call.connection), 0 if body is None else body.size)
    shown, secrets = redacted(head.headers)
    files = [] if body is None else [body]
    if secrets:
        files.append(await _secrets(msgspec.json.encode(secrets), staging))
    request = msgspec.structs.replace(head, headers=shown)
    given = msgspec.json.encode({"request": request, "body": None, "secrets": None})
    order = await intake.json_order(call, ticket, given, staging)
    key = ticket.options.idempotency_key
    may_repeat = head.method in IDEMPOTENT or key is not None
    return msgspec.structs.replace(
        order,
        files=tuple(files),
        max_attempts=None if may_repeat else 1,
        idempotency_key=None if key is None else _own_key(key, head),
        fingerprint="" if key is None else _fingerprint(head, body, ticket),
    )


async def _body(call: Call, staging: Staging) -> FileRef | None:
    if call.body_done:
        return None
    blob = staging.next_blob()
    size, sha256 = await write_all(staging.writer(blob), call.chunks(call.config.upload_bytes_max))
    kind = safe_type(call.content_type, "body")
    return FileRef(blob=blob, name="body", type=kind, size=size, sha256=sha256, field="body") if size else None


async def _secrets(data: bytes, staging: Staging) -> FileRef:
    blob = staging.next_blob()
    size, sha256 = await write_all(staging.writer(blob), whole(data))
    return FileRef(blob=blob, name="secrets", type=SECRET_TYPE, size=size, sha256=sha256, field="secrets")


def _to_keep(head: Head, body_bytes: int) -> Head:
    """Return the head as the application will get it: what it said to this server is done, its length is known."""
    kept: list[tuple[str, str]] = []
    had_length = False
    for name, value in head.headers:
        if name == "prefer":
            value = ",".join(part for part in value.split(",") if not _OURS.match(part)).strip()
        if name == "content-length":
            had_length = True
        if name != "expect" and not name.startswith("offload-") and (value or name != "prefer"):
            kept.append((name, value))
    if body_bytes and not had_length:
        kept.append(("content-length", str(body_bytes)))
    return msgspec.structs.replace(head, headers=kept)


def _own_key(key: str, head: Head) -> str:
    """Return the key as this client's own: two users of the application may think of the same one."""
    who = [(name, value) for name, value in head.headers if name in SECRET_FIELDS]
    return hashlib.sha256(msgspec.json.encode([key, who])).hexdigest()


def _fingerprint(head: Head, body: FileRef | None, ticket: intake.Ticket) -> str:
    kind = dict(head.headers).get("content-type", "")
    options = msgspec.structs.asdict(ticket.options)
    what = [head.method, head.path, head.query, kind, "" if body is None else body.sha256, options]
    return hashlib.sha256(msgspec.json.encode(what, order="sorted")).hexdigest()
