"""Signed links: one address, one method, a while; for browsers, which cannot send a key."""

from pathlib import Path
from typing import Any

import pytest

from offload.core.keys import KeyScope, id_of
from offload.http.links import Links
from tests.http.key_kit import ask, bearer, key_of
from tests.http.kit import Server, serving
from tests.http.sockets import listening

PATH = "/v1/tasks/8c0f4c7e-3b1d-4f6a-9e2b-5d7a1c9e0f34/result"


async def linked(server: Server, token: str, body: object = None) -> dict[str, Any]:
    headers = {**bearer(token), "content-type": "image/png", "prefer": "wait=30"}
    made = await server.client.post("/v1/jobs/copy", content=b"image", headers=headers)
    answer = await ask(server, token, "POST", f"{made.headers['location']}/links", body)
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store", answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_link_is_read_without_a_key(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        token = await key_of(server, "anna")
        links = await linked(server, token, {"seconds": 60})
        assert token not in str(links)
        for address in (links["result"], links["input"]["image"]):
            answer = await server.client.get(address)
            assert (answer.status_code, answer.content) == (200, b"image")
            assert answer.headers["referrer-policy"] == "no-referrer"
        assert (await server.client.get(links["result"] + "&wait=1")).status_code == 200
        assert (await server.client.head(links["result"])).status_code == 200
        events = await server.client.get(links["events"])
        assert "DONE" in events.text and "signed" not in events.text


async def test_a_link_is_good_for_nothing_else(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        token, other = await key_of(server, "anna"), await key_of(server, "bert")
        links, foreign = await linked(server, token), await linked(server, other)
        path, _, signed = links["result"].partition("?")
        task, altered = path.removesuffix("/result"), signed[:-1] + ("A" if signed[-1] != "A" else "B")
        for_other = signed.replace(id_of(token), id_of(other))
        longer = signed.replace(signed.split(".")[1], str(int(signed.split(".")[1]) + 1))
        for method, address in (
            ("GET", f"{task}?{signed}"),
            ("GET", f"{task}/logs?{signed}"),
            ("GET", f"{foreign['result'].partition('?')[0]}?{signed}"),
            ("GET", f"{path}?{altered}"),
            ("GET", f"{path}?{for_other}"),
            ("GET", f"{path}?{longer}"),
            ("GET", f"{path}?signed="),
            ("GET", f"{path}?signed=a.b.c"),
            ("DELETE", f"{task}?{signed}"),
            ("POST", f"/v1/jobs/ping?{signed}"),
        ):
            answer = await server.client.request(method, address)
            assert (answer.status_code, answer.json()["code"]) == (401, "KeyRequired"), address


async def test_a_link_ends_with_its_key_and_its_scope(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        token = await key_of(server, "anna")
        links = await linked(server, token)
        assert (await server.client.get(links["result"])).status_code == 200
        await server.keyring.revoke(id_of(token))
        assert (await server.client.get(links["result"])).status_code == 401


async def test_only_who_may_read_a_task_gets_links_to_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        token = await key_of(server, "anna", KeyScope.SUBMIT)
        path = (await ask(server, token, "POST", "/v1/jobs/ping")).headers["location"]
        assert (await ask(server, token, "POST", f"{path}/links")).status_code == 403
        reader = await key_of(server, "anna", KeyScope.READ)
        for seconds, status in ((3600, 200), (3601, 400), (0, 400), ("long", 400)):
            answer = await ask(server, reader, "POST", f"{path}/links", {"seconds": seconds})
            assert answer.status_code == status


async def test_without_keys_a_link_is_just_the_address(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        task = await server.submit("ping")
        links = (await server.client.post(f"/v1/tasks/{task['id']}/links")).json()
        assert links["result"] == task["links"]["result"] and links["input"] == {}


async def test_a_link_works_on_a_real_socket(tmp_path: Path) -> None:
    async with listening(tmp_path) as listener:
        links = await linked(listener.server, await key_of(listener.server, "anna"))
        answer = await listener.ask(f"GET {links['result']} HTTP/1.1\nHost: localhost")
        assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"image")


@pytest.mark.parametrize(("now", "valid"), [(999.0, True), (1000.0, True), (1001.0, False)])
def test_a_link_ends_when_it_says(now: float, valid: bool) -> None:
    links = Links(bytes(32))
    query = links.signed(PATH, key_id="abc", until=1000.5).partition("?")[2].encode()
    taken = links.taken(PATH, query + b"&wait=1", now)
    assert (taken is not None and (taken.key_id, taken.query) == ("abc", b"wait=1")) is valid
    assert Links(b"1" * 32).taken(PATH, query, 0.0) is None, "another store has another secret"
    assert Links(bytes(32)).taken(PATH, query, 0.0) is not None, "another node of the same store, or a later one"
