"""Callbacks that were sent or will be: their log, sending one again, trying a URL, the secrets that sign them."""

from typing import Any

from starlette.responses import Response

from offload.core.callback import Delivery, DeliveryState, Try
from offload.core.errors import WrongValue
from offload.core.signing import Secret
from offload.http.call import Call
from offload.http.callback_options import callback_url
from offload.http.fields import check_json_type, parse_json
from offload.http.present import encode, json_answer, rfc3339
from offload.http.problems import WrongBody
from offload.http.reading import check_task_id
from offload.http.tasks import LIMIT_DEFAULT, cursor_of, key_of, read_limit
from offload.http.telling import TEST_EVENT, event_json
from offload.ports.callbacks import DeliveryFilter

BODY_BYTES_MAX = 16 * 1024


async def list_callbacks(call: Call) -> Response:
    """Newest first; of one task, or in one state."""
    wanted = _filter(call)
    if wanted.task_id is not None:
        await call.engine.get(call.sees, wanted.task_id)
    found = await call.engine.callbacks.find(call.sees, wanted)
    page = found[: wanted.limit - 1]
    following = cursor_of(page[-1].key) if len(found) == wanted.limit else None
    return json_answer(encode({"callbacks": [_shown(each) for each in page], "next": following}))


async def replay_callback(call: Call) -> Response:
    """Send it again, with a whole schedule of tries before it."""
    await call.no_body()
    return json_answer(encode(_shown(await call.engine.callbacks.replay(call.sees, call.parameters["id"]))), 202)


async def test_callback(call: Call) -> Response:
    """Send a signed `callback.test` to a URL, once and now, and tell how it went."""
    url = callback_url("url", await _url(call))
    body = event_json(TEST_EVENT, call.engine.clock.now(), b"{}")
    return json_answer(encode(_try(await call.engine.callbacks.test(call.owner, url, body))))


async def get_secret(call: Call) -> Response:
    """What signs the callbacks of this owner."""
    return _secrets(await call.engine.callbacks.secrets(call.owner))


async def rotate_secret(call: Call) -> Response:
    """Sign with a new secret; with the one before too for a day, so that receivers can learn the new one."""
    await call.no_body()
    return _secrets(await call.engine.callbacks.rotate(call.owner))


def _filter(call: Call) -> DeliveryFilter:
    """Return what the query asks for; one more than a page, to know whether there is another. Raise WrongValue."""
    found: dict[str, Any] = {"limit": LIMIT_DEFAULT + 1}
    for name, value in call.query:
        if name == "task":
            found["task_id"] = check_task_id(value)
        elif name == "state":
            found["state"] = _state(value)
        elif name == "limit":
            found["limit"] = read_limit(value) + 1
        elif name == "cursor":
            found["before_key"] = key_of(value)
        else:
            raise WrongValue(name[:100], "is not a parameter of this request; it takes task, state, limit and cursor")
    return DeliveryFilter(**found)


def _state(value: str) -> DeliveryState:
    try:
        return DeliveryState(value)
    except ValueError:
        raise WrongValue("state", f"{value[:40]!r} is none of {', '.join(DeliveryState)}") from None


async def _url(call: Call) -> object:
    check_json_type(call)
    read = parse_json(await call.body(BODY_BYTES_MAX))
    if not isinstance(read, dict) or set(read) != {"url"}:
        raise WrongBody('the body must be {"url": …}')
    return read["url"]


def _secrets(found: list[Secret]) -> Response:
    newest, earlier = found[0], found[1:]
    previous = [{"secret": each.text, "valid_until": rfc3339(each.until)} for each in earlier]
    response = json_answer(encode({"secret": newest.text, "previous": previous}))
    response.raw_headers.append((b"cache-control", b"no-store"))
    return response


def _shown(delivery: Delivery) -> dict[str, Any]:
    waits = delivery.state is DeliveryState.PENDING
    return {
        "id": delivery.id,
        "task": delivery.task_id,
        "type": delivery.type,
        "url": delivery.url,
        "body": delivery.body,
        "state": delivery.state,
        "tries": delivery.tries,
        "created_at": rfc3339(delivery.created_at),
        "due_at": rfc3339(delivery.due_at) if waits else None,
        "last": None if delivery.last is None else _try(delivery.last),
    }


def _try(tried: Try) -> dict[str, Any]:
    return {
        "at": rfc3339(tried.at),
        "status_code": tried.status_code,
        "error": tried.error or None,
        "latency_seconds": round(tried.latency_seconds, 3),
        "answer": tried.answer.decode("utf-8", "replace"),
    }
