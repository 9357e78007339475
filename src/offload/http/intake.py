"""From the body of a request to an Order: read in one of three forms, checked, its files stored."""

import hashlib
from collections.abc import Sequence

import msgspec

from offload.core import strict_json
from offload.core.errors import EgressRefused, FileDoesNotExist, WrongInput, WrongValue
from offload.core.job import Job
from offload.core.schema import Checked
from offload.core.sources import FileSource
from offload.core.task import FileRef
from offload.engine.orders import Order
from offload.engine.writing import write_all
from offload.http.call import Call
from offload.http.forms import form_values
from offload.http.multipart import FormLimits, FormReader, Part, boundary_of, file_name_of
from offload.http.options import Options
from offload.http.present import JSON_TYPE
from offload.http.problems import WrongBody, WrongContentType
from offload.http.uploads import Staging, safe_name, safe_type
from offload.ports import BlobWriter

FORM_TYPE = "application/x-www-form-urlencoded"
"""What curl claims for `--data-binary` when it is told nothing."""


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """What an order needs beside its input."""

    id: str
    job: Job
    options: Options
    run: bool = True
    keyed: str = ""
    """Not empty: a fingerprint is needed, over this (the method, for a start) and everything that was ordered."""


def check_announced(call: Call) -> None:
    """Refuse a body for what its header says, before room is asked for it. Raise BodyTooLarge, WrongContentType."""
    config = call.config
    call.check_body(config.json_bytes_max if call.content_type == JSON_TYPE else config.upload_bytes_max)


async def read_order(call: Call, ticket: Ticket, staging: Staging) -> Order:
    """Read the body of `POST /v1/jobs/{job}`. Raise WrongInput, WrongBody, WrongContentType, BodyTooLarge, DiskFull."""
    kind = call.content_type
    job = ticket.job
    if kind == JSON_TYPE:
        return await json_order(call, ticket, await _json_body(call), staging)
    if kind == "multipart/form-data":
        return await _form_order(call, ticket, staging)
    if job.schema.single_file is not None and (kind or not call.body_done):
        return await _raw_order(call, ticket, staging)
    if kind == "":
        body = await call.body(call.config.json_bytes_max)
        if not body.strip():
            return await json_order(call, ticket, b"{}", staging)
    hint = "; curl needs -H 'Content-Type: application/json' for JSON" if kind == FORM_TYPE else ""
    given = kind[:100] or "an unnamed type"
    raise WrongContentType(f"job {job.name!r} takes application/json or multipart/form-data, not {given}{hint}")


async def json_order(call: Call, ticket: Ticket, body: bytes, staging: Staging) -> Order:
    """Check a JSON object as the job's input."""
    try:
        checked = ticket.job.schema.check_json(ticket.job.name, body)
    except WrongInput:
        _readable(body)
        raise
    if not checked.sources:
        return _order(call, ticket, checked.input, ())
    return await _with_files(call, ticket, checked, (), staging)


async def _json_body(call: Call) -> bytes:
    if call.connection["query_string"]:
        raise WrongValue("query", "parameters go into the JSON body; the query string is for a raw file as the body")
    return await call.body(call.config.json_bytes_max)


def _readable(body: bytes) -> None:
    """Raise WrongBody when what was refused as input is not even JSON: that is another mistake."""
    try:
        strict_json.loads(body)
    except ValueError as error:
        raise WrongBody(str(error)) from None


async def _form_order(call: Call, ticket: Ticket, staging: Staging) -> Order:
    if call.connection["query_string"]:
        raise WrongValue("query", "parameters go into the form; the query string is for a raw file as the body")
    files: list[FileRef] = []

    async def start(part: Part) -> BlobWriter:
        media_type = safe_type(part.type, part.name)
        name = safe_name(part.name, part.field, media_type)
        files.append(FileRef(blob=staging.next_blob(), name=name, type=media_type, size=0, field=part.field))
        return staging.writer(files[-1].blob)

    def end(part: Part, size: int, sha256: str) -> None:
        files[-1] = msgspec.structs.replace(files[-1], size=size, sha256=sha256)

    boundary = boundary_of(call.header(b"content-type") or "")
    limits = FormLimits(fields_bytes_max=call.config.json_bytes_max, files_max=call.config.files_per_task_max)
    reader = FormReader(boundary, limits, start, end)
    form = await reader.read(call.chunks(call.config.upload_bytes_max))
    values = form_values(ticket.job, form.fields, files)
    return await _with_files(call, ticket, ticket.job.schema.check_values(ticket.job.name, values), files, staging)


async def _raw_order(call: Call, ticket: Ticket, staging: Staging) -> Order:
    job = ticket.job
    field = job.schema.single_file
    assert field is not None
    if any(name == field for name, _ in call.query):
        raise WrongInput(
            job.name, [{"loc": [field], "message": "is the body of this request; it cannot be in the query too"}]
        )
    given = file_name_of(call.header(b"content-disposition"))
    media_type = safe_type("" if call.content_type == FORM_TYPE else call.content_type, given)
    name = safe_name(given, field, media_type)
    # what can be known to be wrong is said before a byte of the file is stored
    fields = [(key, text) for key, text in call.query]
    checked = job.schema.check_values(
        job.name, form_values(job, fields, [FileRef(blob="", name="", type="", size=0, field=field)])
    )
    blob = staging.next_blob()
    size, sha256 = await write_all(staging.writer(blob), call.chunks(call.config.upload_bytes_max))
    file = FileRef(blob=blob, name=name, type=media_type, size=size, sha256=sha256, field=field)
    return await _with_files(call, ticket, checked, [file], staging)


async def _with_files(
    call: Call, ticket: Ticket, checked: Checked, uploads: Sequence[FileRef], staging: Staging
) -> Order:
    """Bring every file of a checked input into the task's own blobs."""
    limit, job = call.config.files_per_task_max, ticket.job.name
    if len(checked.sources) > limit:
        raise WrongInput(job, [{"loc": [], "message": f"holds more than {limit} files"}])
    files, mistakes = [], []
    for source in checked.sources:
        loc = [int(part) if part.isdigit() else part for part in source.field.split(".")]
        try:
            if source.kind == "upload":
                files.append(msgspec.structs.replace(uploads[int(source.value)], field=source.field))
            elif source.kind == "data":
                files.append(await staging.add_data_url(source.value, source.field))
            elif source.kind == "file":
                files.append(await staging.add_stored(call.engine.files, call.sees, source.value, source.field))
            else:
                _check_url(call, source)
                blob = staging.next_blob()
                files.append(FileRef(blob=blob, name="", type="", size=0, field=source.field, url=source.value))
        except (ValueError, FileDoesNotExist, WrongBody) as error:
            mistakes.append({"loc": loc, "message": str(error)})
    if mistakes:
        raise WrongInput(job, mistakes)
    return _order(call, ticket, checked.input, tuple(files))


def _check_url(call: Call, source: FileSource) -> None:
    """Refuse, under the name of the field, what would never be fetched."""
    try:
        call.engine.check_url(source.value)
    except EgressRefused as error:
        raise EgressRefused(f"{source.field}: {error}") from None


def _order(call: Call, ticket: Ticket, body: bytes, files: tuple[FileRef, ...]) -> Order:
    options = ticket.options
    return Order(
        id=ticket.id,
        job=ticket.job.name,
        owner=call.owner,
        input=body,
        files=files,
        priority=options.priority,
        delay_seconds=options.delay_seconds,
        run_at=options.run_at,
        deadline_seconds=options.deadline_seconds,
        tags=options.tags,
        callback=options.callback,
        upload_to=options.upload_to,
        traceparent=call.traceparent,
        run=ticket.run,
        idempotency_key=options.idempotency_key,
        fingerprint=_fingerprint(ticket, body, files) if ticket.keyed else "",
    )


def _fingerprint(ticket: Ticket, body: bytes, files: Sequence[FileRef]) -> str:
    """Return a digest of everything that was ordered; how JSON is spaced and files are sent does not matter."""
    canonical = msgspec.json.encode(msgspec.json.decode(body), order="sorted")
    named = sorted((file.field, file.sha256 or file.url, file.name, file.type) for file in files)
    options = msgspec.structs.asdict(ticket.options)
    whole = [ticket.keyed, ticket.job.name, ticket.run, options, canonical.decode(), named]
    return hashlib.sha256(msgspec.json.encode(whole, order="sorted")).hexdigest()
