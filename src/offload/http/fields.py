"""A small JSON object as the body of a request, with the fields that are known and no others."""

from typing import Any

from offload.core import strict_json
from offload.core.errors import WrongValue
from offload.http.call import Call
from offload.http.problems import WrongBody, WrongContentType

BODY_BYTES_MAX = 16 * 1024


async def read_fields(call: Call, known: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields of the body; none at all is an empty one. Raise WrongBody, WrongContentType, WrongValue."""
    body = await call.body(BODY_BYTES_MAX)
    if not body.strip():
        return {}
    if call.content_type != "application/json":
        raise WrongContentType(f"this takes application/json, not {call.content_type[:100] or 'an unnamed type'}")
    try:
        read = strict_json.loads(body)
    except ValueError as error:
        raise WrongBody(str(error)) from None
    if not isinstance(read, dict):
        raise WrongBody("the body must be a JSON object")
    for name in read:
        if name not in known:
            raise WrongValue(name[:80], f"is not a field; fields are {', '.join(known)}")
    return read
