"""Uploads past this server: a link into the blob store, and its confirmation, after which the file can be named."""

import contextlib
import hashlib
import re
import secrets
import uuid
from typing import Any

from starlette.responses import Response

from offload.core.errors import BodyTooLarge, FileDoesNotExist, NotAvailable, TryAgain, WrongValue
from offload.core.task import FileRef
from offload.http.access import share
from offload.http.call import Call
from offload.http.fields import read_fields
from offload.http.present import encode, json_answer, rfc3339
from offload.http.uploads import safe_name, safe_type
from offload.ports import LooseFile
from offload.ports.links import BlobLinks

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


async def create_link(call: Call) -> Response:
    """Return where a client may PUT a file of one size, and the id under which it is confirmed then."""
    links = _links(call)
    size = (await read_fields(call, ("size",))).get("size")
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise WrongValue("size", "must be the number of bytes of the file")
    _check_size(call, links, size)
    call.engine.gate.check_room(size)
    file_id, seconds = str(uuid.uuid4()), call.config.blob_link_seconds
    until = call.engine.clock.now() + seconds
    with await share(call, size=size):  # is there room for it? what takes the room is the confirmation
        link = await links.to_write(_landing(call, file_id), size=size, seconds=seconds)
    upload = {"method": "PUT", "url": link.url, "headers": dict(link.headers)}
    body = {"id": file_id, "upload": upload, "expires_at": rfc3339(until)}
    response = json_answer(encode({**body, "confirm": f"{call.config.prefix}/v1/files/{file_id}/confirm"}), 201)
    response.raw_headers.append((b"cache-control", b"no-store"))
    return response


async def confirm_upload(call: Call) -> Response:
    """Take over what was uploaded by a link, so that it can be named as `file:{id}`; once more is no harm."""
    links, file_id = _links(call), call.parameters["id"]
    fields = await read_fields(call, ("name", "type"))
    name, media_type = _text(fields, "name"), _text(fields, "type")
    if not _ID.fullmatch(file_id):
        raise FileDoesNotExist(file_id)
    known = await call.engine.files.get_file(call.sees, file_id)
    if known is None:
        size = await links.size_of(_landing(call, file_id))
        _check_size(call, links, size)
        with await share(call, size=size) as held:
            known = await _taken_over(call, file_id, name, media_type)
            held.keep_bytes(known.file.size)
    file = known.file
    return json_answer(encode({"id": file_id, "size": file.size, "type": file.type, "sha256": file.sha256}), 201)


async def _taken_over(call: Call, file_id: str, name: str, media_type: str) -> LooseFile:
    """Copy it to where no link leads, and only then look at it: the client can still write over what it uploaded."""
    landing, blob, blobs = _landing(call, file_id), f"f/{file_id}/{secrets.token_hex(8)}", call.engine.blobs
    await blobs.copy(landing, blob)
    size, digest = 0, hashlib.sha256()
    async for chunk in blobs.read(blob):
        digest.update(chunk)
        size += len(chunk)
    kind = safe_type(media_type, name)
    file = FileRef(blob=blob, name=safe_name(name, "file", kind), type=kind, size=size, sha256=digest.hexdigest())
    loose = LooseFile(id=file_id, owner=call.owner, file=file, created_at=call.engine.clock.now())
    try:
        await call.engine.files.add_file(loose)
    except Exception:
        # the same confirmation may have come twice at once, and the other one was first
        if (known := await call.engine.files.get_file(call.sees, file_id)) is None:
            raise
        loose = known
    for left in (landing, *([blob] if loose.file.blob != blob else [])):
        with contextlib.suppress(TryAgain):  # then a sweep finds it
            await blobs.delete(left)
    return loose


def _links(call: Call) -> BlobLinks:
    links = call.engine.parts.blob_links
    if links is None:
        raise NotAvailable("this server takes files itself: POST them to /v1/files")
    return links


def _landing(call: Call, file_id: str) -> str:
    """Return where an upload arrives; another owner, even one who knows the id, would look elsewhere."""
    return f"u/{file_id}/{hashlib.sha256(call.owner.encode()).hexdigest()[:16]}"


def _check_size(call: Call, links: BlobLinks, size: int) -> None:
    limit = min(call.config.upload_bytes_max, links.upload_bytes_max)
    if size > limit:
        raise BodyTooLarge("the file", limit)


def _text(fields: dict[str, Any], name: str) -> str:
    found = fields.get(name, "")
    if not isinstance(found, str):
        raise WrongValue(name, "must be text")
    return found
