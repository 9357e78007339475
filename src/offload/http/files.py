"""Files that are stored before a task needs them."""

import contextlib
import uuid

from starlette.responses import Response

from offload.core.errors import TryAgain, WrongValue
from offload.core.task import FileRef
from offload.engine.writing import write_all
from offload.http.access import share
from offload.http.call import Call
from offload.http.intake import FORM_TYPE
from offload.http.multipart import FormLimits, FormReader, Part, boundary_of, file_name_of
from offload.http.present import encode, json_answer
from offload.http.problems import WrongBody
from offload.http.uploads import safe_name, safe_type
from offload.ports import BlobWriter, LooseFile


async def create_file(call: Call) -> Response:
    """Store a file, raw or as the one part of a form, to be named later as `file:{id}`."""
    file_id = str(uuid.uuid4())
    for name, _ in call.query:
        if name != "name":
            raise WrongValue(name[:80], "is not a parameter of this request; it takes `name`")
    call.check_body(call.config.upload_bytes_max)
    call.engine.gate.check_room(call.content_length or 0)
    blob = f"f/{file_id}"
    reader = _from_form if call.content_type == "multipart/form-data" else _from_body
    with await share(call, size=call.content_length or 0) as held:
        try:
            file = await reader(call, blob)
            loose = LooseFile(id=file_id, owner=call.owner, file=file, created_at=call.engine.clock.now())
            await call.engine.files.add_file(loose)
        except BaseException:
            with contextlib.suppress(TryAgain):  # then a sweep finds it
                await call.engine.blobs.delete(blob)
            raise
        held.keep_bytes(file.size)
    return json_answer(encode({"id": file_id, "size": file.size, "type": file.type, "sha256": file.sha256}), 201)


async def _from_body(call: Call, blob: str) -> FileRef:
    given = dict(call.query).get("name") or file_name_of(call.header(b"content-disposition"))
    media_type = safe_type("" if call.content_type == FORM_TYPE else call.content_type, given)
    name = safe_name(given, "file", media_type)
    size, sha256 = await write_all(_writer(call, blob), call.chunks(call.config.upload_bytes_max))
    return FileRef(blob=blob, name=name, type=media_type, size=size, sha256=sha256)


async def _from_form(call: Call, blob: str) -> FileRef:
    found: list[FileRef] = []

    async def start(part: Part) -> BlobWriter:
        return _writer(call, blob)

    def end(part: Part, size: int, sha256: str) -> None:
        media_type = safe_type(part.type, part.name)
        name = safe_name(part.name, "file", media_type)
        found.append(FileRef(blob=blob, name=name, type=media_type, size=size, sha256=sha256))

    limits = FormLimits(fields_bytes_max=call.config.json_bytes_max, files_max=1)
    form = await FormReader(boundary_of(call.header(b"content-type") or ""), limits, start, end).read(
        call.chunks(call.config.upload_bytes_max)
    )
    if not found or form.fields:
        raise WrongBody("the form must have exactly one part, and that one a file")
    return found[0]


def _writer(call: Call, blob: str) -> BlobWriter:
    return call.engine.blobs.writer(blob, bytes_max=call.config.upload_bytes_max)
