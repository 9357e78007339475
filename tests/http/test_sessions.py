"""A browser signs in with a key once, and a cookie stands for it."""

from pathlib import Path

import httpx2
import pytest

from offload.core.keys import KeyScope
from tests.http.key_kit import ask, bearer, key_of
from tests.http.kit import Server, serving


async def signed_in(server: Server, token: str) -> dict[str, str]:
    """Return the header that a browser would send from then on."""
    answer = await server.client.post("/v1/session", headers=bearer(token))
    assert answer.status_code == 200, answer.text
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and token not in cookie
    server.client.cookies.clear()
    return {"cookie": cookie.partition(";")[0]}


async def test_without_keys_nobody_signs_in(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        said = (await server.client.get("/v1/session")).json()
        assert said == {"locked": False, "owner": None, "scopes": [str(scope) for scope in KeyScope]}
        assert (await server.client.post("/v1/session")).status_code == 400


async def test_a_cookie_may_what_its_key_may(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        anna = await key_of(server, "anna", KeyScope.READ)
        cookie = await signed_in(server, anna)
        said = (await server.client.get("/v1/session", headers=cookie)).json()
        assert said == {"locked": True, "owner": "anna", "scopes": ["read"]}
        assert (await server.client.get("/v1/tasks", headers=cookie)).status_code == 200
        assert (await server.client.post("/v1/jobs/ping", json={}, headers=cookie)).status_code == 403
        assert (await server.client.get("/v1/tasks")).status_code == 401


async def test_a_session_ends_with_its_key_and_when_it_is_altered(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        anna, admin = await key_of(server, "anna"), await key_of(server, "ops", KeyScope.ADMIN)
        cookie = await signed_in(server, anna)
        for place in range(len("offload="), len(cookie["cookie"])):
            changed = "B" if cookie["cookie"][place] == "A" else "A"
            altered = cookie["cookie"][:place] + changed + cookie["cookie"][place + 1 :]
            answer = await server.client.get("/v1/tasks", headers={"cookie": altered})
            # the last digit of base64 may carry bits that mean nothing, but no two spellings are taken
            assert answer.status_code == 401, altered
        key_id = next(
            k["id"] for k in (await ask(server, admin, "GET", "/v1/keys")).json()["keys"] if k["owner"] == "anna"
        )
        await ask(server, admin, "DELETE", f"/v1/keys/{key_id}")
        answer = await server.client.get("/v1/tasks", headers=cookie)
        assert answer.status_code == 401 and "sign in again" in answer.json()["detail"]


async def test_a_cookie_makes_no_other_session_and_is_no_link(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        cookie = await signed_in(server, await key_of(server, "anna"))
        assert (await server.client.post("/v1/session", headers=cookie)).status_code == 400
        stamp = cookie["cookie"].removeprefix("offload=")
        assert (await server.client.get(f"/v1/tasks?signed={stamp}")).status_code == 401


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_another_sites_page_has_no_use_of_the_cookie(tmp_path: Path, site: str) -> None:
    async with serving(tmp_path) as server:
        cookie = await signed_in(server, await key_of(server, "anna"))
        changes = (("POST", "/v1/jobs/ping", 403), ("DELETE", "/v1/tasks/x", 403))  # by whatever it shows
        for method, path, status in (("GET", "/v1/tasks", 401), *changes):
            answer = await server.client.request(method, path, headers={**cookie, "sec-fetch-site": site})
            assert answer.status_code == status, (method, path)
        foreign = {**cookie, "origin": "https://evil.test", "sec-fetch-site": "cross-site"}
        assert (await server.client.post("/v1/jobs/ping", json={}, headers=foreign)).status_code == 403


async def test_signing_out_takes_the_cookie_away(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await key_of(server, "anna")
        answer: httpx2.Response = await server.client.delete("/v1/session")
        assert answer.status_code == 204 and "Max-Age=0" in answer.headers["set-cookie"]


async def test_over_tls_the_cookie_is_for_this_host_alone(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        token = await key_of(server, "anna")
        answer = await server.client.post("https://localhost/v1/session", headers=bearer(token))
        assert answer.headers["set-cookie"].startswith("__Host-offload=") and "; Secure" in answer.headers["set-cookie"]
