"""Signing a browser in with a key: a cookie that scripts cannot read stands for it until it ends."""

from starlette.responses import Response

from offload.core.keys import KeyScope
from offload.http.call import Call
from offload.http.present import encode, json_answer, rfc3339
from offload.http.problems import WrongRequest

SESSION_SECONDS = 12 * 3_600.0
PATH = "session"
"""What a session's signature signs instead of a path: no link can be taken for a session, nor a session for a link."""


async def get_session(call: Call) -> Response:
    """Who asks, and what they may do; without keys everybody everything."""
    return _told({"locked": call.keyring.locked, **_who(call)})


async def sign_in(call: Call) -> Response:
    """Give a cookie for the key that came in the Authorization field; the browser's earlier one is replaced."""
    await call.no_body()
    if b"authorization" not in call.fields or call.key is None:
        raise WrongRequest("send the key as `Authorization: Bearer ofl_…`; without keys nobody needs to sign in")
    until = call.engine.clock.now() + SESSION_SECONDS
    value = call.links.stamp(PATH, key_id=call.key.id, until=until)
    response = _told({"locked": True, **_who(call), "expires_at": rfc3339(until)})
    response.raw_headers.append((b"set-cookie", _cookie(call, value, SESSION_SECONDS).encode()))
    return response


async def sign_out(call: Call) -> Response:
    """Have the browser forget its cookie."""
    await call.no_body()
    response = Response(status_code=204)
    response.raw_headers.append((b"set-cookie", _cookie(call, "", 0).encode()))
    return response


def cookie_name(call: Call) -> str:
    """Return the cookie's name; over TLS one that only this host can set."""
    return "__Host-offload" if call.connection.get("scheme") == "https" else "offload"


def session_of(call: Call) -> str | None:
    """Return the session's cookie of a request, if it came from a page of ours and not of another site."""
    cookies = call.header(b"cookie")
    if cookies is None or call.fields.get(b"sec-fetch-site", b"same-origin") not in (b"same-origin", b"none"):
        return None
    own = cookie_name(call) + "="
    for part in cookies.split(";"):
        if part.strip().startswith(own):
            return part.strip()[len(own) :]
    return None


def _cookie(call: Call, value: str, seconds: float) -> str:
    name = cookie_name(call)
    secure = "; Secure" if name.startswith("__Host-") else ""
    return f"{name}={value}; Path=/; Max-Age={seconds:.0f}; HttpOnly; SameSite=Strict{secure}"


def _who(call: Call) -> dict[str, object]:
    if call.key is None:
        return {"owner": None, "scopes": [str(scope) for scope in KeyScope]}
    return {"owner": call.key.owner, "scopes": [str(scope) for scope in call.key.scopes]}


def _told(body: dict[str, object]) -> Response:
    response = json_answer(encode(body))
    response.raw_headers.append((b"cache-control", b"no-store"))
    return response
