"""Keys over HTTP, for admins; and signed links, for whoever may read the task."""

from typing import Any
from urllib.parse import quote

from starlette.responses import Response

from offload.core.errors import WrongValue
from offload.core.keys import ApiKey, Wish, read_owner, read_rate, read_scopes
from offload.core.task import Seconds
from offload.http.call import Call
from offload.http.fields import read_fields
from offload.http.links import LINK_SECONDS, LINK_SECONDS_MAX
from offload.http.present import SECRET_TYPE, encode, json_answer, rfc3339, task_path
from offload.http.reading import task_of

FIELDS = ("owner", "scopes", "expires_seconds", "rate", "tasks_max", "bytes_max")
EXPIRES_SECONDS_MAX = 100 * 366 * 86_400.0
COUNT_MAX = 2**53 - 1


async def list_keys(call: Call) -> Response:
    """Every key, revoked and expired ones too."""
    return _unkept({"keys": [shown(key) for key in await call.keyring.keys()]})


async def create_key(call: Call) -> Response:
    """Make a key and tell it, this once."""
    body = await read_fields(call, FIELDS)
    made = await call.keyring.create(
        Wish(
            owner=read_owner(body.get("owner")),
            scopes=read_scopes(body.get("scopes")),
            expires_seconds=_seconds(body, "expires_seconds", EXPIRES_SECONDS_MAX),
            rate=None if body.get("rate") is None else read_rate(body["rate"]),
            tasks_max=_count(body, "tasks_max"),
            bytes_max=_count(body, "bytes_max"),
        )
    )
    return _unkept({"key": made.token, **shown(made.key)}, 201)


async def revoke_key(call: Call) -> Response:
    """End a key at once, for good."""
    await call.no_body()
    return _unkept(shown(await call.keyring.revoke(call.parameters["id"])))


async def create_links(call: Call) -> Response:
    """Return addresses of a task that a browser can read for a while without a key."""
    seconds = _seconds(await read_fields(call, ("seconds",)), "seconds", LINK_SECONDS_MAX) or LINK_SECONDS
    task = await task_of(call)
    until = call.engine.clock.now() + seconds
    key_id = "" if call.key is None else call.key.id

    def link(path: str) -> str:
        # without keys nobody needs a signature
        signed = call.links.signed(path, key_id=key_id, until=until) if key_id else quote(path)
        return call.config.prefix + signed

    own = task_path(task)
    return _unkept({
        "expires_at": rfc3339(until),
        "events": link(f"{own}/events"),
        "result": link(f"{own}/result"),
        "input": {file.field: link(f"{own}/input/{file.field}") for file in task.files if file.type != SECRET_TYPE},
    })  # fmt: skip


def shown(key: ApiKey) -> dict[str, Any]:
    """Return a key as people see it: not even its hash is told."""
    return {
        "id": key.id,
        "owner": key.owner,
        "scopes": list(key.scopes),
        "created_at": rfc3339(key.created_at),
        "expires_at": rfc3339(key.expires_at),
        "revoked_at": rfc3339(key.revoked_at),
        "last_used_at": rfc3339(key.last_used_at),
        "rate": None if key.rate is None else str(key.rate),
        "tasks_max": key.tasks_max,
        "bytes_max": key.bytes_max,
    }


def _unkept(body: dict[str, Any], status: int = 200) -> Response:
    """Return an answer that nothing on the way may keep."""
    response = json_answer(encode(body), status)
    response.raw_headers.append((b"cache-control", b"no-store"))
    return response


def _seconds(body: dict[str, Any], name: str, most: Seconds) -> Seconds | None:
    found = body.get(name)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not 1 <= found <= most:
        raise WrongValue(name, f"must be a number of seconds from 1 to {most:.0f}")
    return float(found)


def _count(body: dict[str, Any], name: str) -> int | None:
    found = body.get(name)
    if found is not None and (isinstance(found, bool) or not isinstance(found, int) or not 1 <= found <= COUNT_MAX):
        raise WrongValue(name, "must be a whole number from 1")
    return found
