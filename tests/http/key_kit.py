"""Keys for tests of a server that has them."""

import httpx2

from offload.core.keys import KeyScope, Rate, Wish
from tests.http.kit import Server

EVERYTHING = (KeyScope.SUBMIT, KeyScope.READ)


async def key_of(
    server: Server,
    owner: str,
    *scopes: KeyScope,
    rate: Rate | None = None,
    tasks_max: int | None = None,
    bytes_max: int | None = None,
    expires_seconds: float | None = None,
) -> str:
    """Make a key; from then on the server lets nobody in without one."""
    wish = Wish(
        owner=owner,
        scopes=scopes or EVERYTHING,
        rate=rate,
        tasks_max=tasks_max,
        bytes_max=bytes_max,
        expires_seconds=expires_seconds,
    )
    return (await server.keyring.create(wish)).token


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def ask(server: Server, token: str, method: str, path: str, body: object = None) -> httpx2.Response:
    """Send a request with a key; `body` is JSON."""
    return await server.client.request(method, path, headers=bearer(token), json=body)
