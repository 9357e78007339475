"""Pages of PDF files as pictures, for whoever may read the file: a browser that opened it would run what it brings."""

from starlette.responses import Response

from offload.core.errors import (
    FileDoesNotExist,
    NotAvailable,
    OffloadError,
    TaskIsNotFinal,
    WrongValue,
)
from offload.core.task import FileRef, Status
from offload.http.browsers import HELD_FIELDS
from offload.http.call import Call
from offload.http.conditional import not_modified
from offload.http.reading import task_of
from offload.http.results import (
    ended_without_result,
    has_result,
    input_deleted,
    input_expired,
    input_file,
    result_expired,
)
from offload.ports.previews import NoPreview

PDF_TYPE = "application/pdf"
PAGE_DIGITS_MAX = 6


async def get_result_preview(call: Call) -> Response:
    """A page of the result."""
    number = _number(call)
    task = await task_of(call)
    if not task.final:
        raise TaskIsNotFinal(f"task {task.id} is {task.status}: it has no result yet", task=task.id)
    if not has_result(task):
        return ended_without_result(task, tracebacks=call.admin)
    if task.payload_dropped:
        raise result_expired(task)
    if task.result_file is None:
        raise NoPreview("it is JSON; there are previews of PDF files")
    return await _preview(call, task.result_file, number, result_expired(task))


async def get_input_preview(call: Call) -> Response:
    """A page of an input file."""
    number = _number(call)
    task = await task_of(call)
    if task.status is Status.DELETED:
        return input_deleted(task)
    return await _preview(call, input_file(call, task), number, input_expired(task))


async def _preview(call: Call, file: FileRef, number: int, gone: OffloadError) -> Response:
    kind = file.type.partition(";")[0].strip().lower()
    if kind != PDF_TYPE:
        raise NoPreview(f"it is {kind or 'of no known type'}; there are previews of PDF files")
    previews = call.engine.parts.previews
    if previews is None:
        raise NotAvailable('previews of PDF files need a package that is not here: pip install "offload[pdf]"')
    etag = f'"{file.sha256}.{number}"'
    if file.sha256 and not_modified(call.header(b"if-none-match"), etag):
        response = Response(status_code=304)
    else:
        chunks = call.engine.blobs.read(file.blob, size=file.size)
        try:
            drawn = await call.while_here(previews.page(chunks, size=file.size, number=number))
        except FileDoesNotExist:
            raise gone from None
        response = Response(drawn.png, media_type="image/png")
        response.raw_headers.append((b"offload-pages", b"%d" % drawn.pages))
        response.raw_headers.extend(HELD_FIELDS)
    if file.sha256:
        response.raw_headers.append((b"etag", etag.encode()))
    return response


def _number(call: Call) -> int:
    """Return which page is asked for. Raise WrongValue."""
    found = 1
    for name, value in call.query:
        if name != "page":
            raise WrongValue(name[:80], "is not a parameter of this request; it takes `page`")
        if not (value.isascii() and value.isdigit() and len(value) <= PAGE_DIGITS_MAX and int(value) > 0):
            raise WrongValue("page", "must be the number of a page, counted from 1")
        found = int(value)
    return found
