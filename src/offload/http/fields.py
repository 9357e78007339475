"""A small JSON object as the body of a request, with the fields that are known and no others."""

from typing import Any

from offload.core import strict_json
from offload.core.errors import WrongValue
from offload.http.call import Call
from offload.http.present import JSON_TYPE
from offload.http.problems import WrongBody, WrongContentType

BODY_BYTES_MAX = 16 * 1024


async def read_fields(call: Call, known: tuple[str, ...], *, bytes_max: int = BODY_BYTES_MAX) -> dict[str, Any]:
    """Return the fields of the body; none at all is an empty one. Raise WrongBody, WrongContentType, WrongValue."""
    body = await call.body(bytes_max)
    if not body.strip():
        return {}
    check_json_type(call)
    read = parse_json(body)
    if not isinstance(read, dict):
        raise WrongBody("the body must be a JSON object")
    for name in read:
        if name not in known:
            raise WrongValue(name[:80], f"is not a field; fields are {', '.join(known)}")
    return read


def check_json_type(call: Call) -> None:
    """Raise WrongContentType when the body does not call itself JSON."""
    if call.content_type != JSON_TYPE:
        raise WrongContentType(f"this takes {JSON_TYPE}, not {call.content_type[:100] or 'an unnamed type'}")


def parse_json(body: bytes) -> Any:
    """Return what a body says, read strictly. Raise WrongBody."""
    try:
        return strict_json.loads(body)
    except ValueError as error:
        raise WrongBody(str(error)) from None
