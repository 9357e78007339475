"""Keys at the door: who is let in with what, what is told to whom, and how much one may ask for."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from offload.core.keys import KeyScope, Rate, is_token, new_token
from offload.http.access import network_of
from offload.http.app import ROUTES
from offload.http.config import HttpConfig
from tests.http.key_kit import ask, bearer, key_of
from tests.http.kit import gate_of, serving
from tests.http.sockets import listening
from tests.unit.engine.kit import HandClock

READ, SUBMIT, ADMIN = KeyScope.READ, KeyScope.SUBMIT, KeyScope.ADMIN


def told(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_without_keys_everybody_may_do_everything(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        assert (await server.client.get("/v1/tasks", headers=bearer("ofl_x"))).status_code == 200
        task = await server.submit("fail", {"message": "no"})
        assert "traceback" in (await server.finished(task["id"]))["error"]


async def test_from_the_first_key_on_nobody_is_let_in_without_one(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        made = await server.client.post("/v1/keys", json={"owner": "anna", "scopes": ["read", "submit"]})
        assert made.status_code == 201 and made.headers["cache-control"] == "no-store"
        token = made.json()["key"]
        assert is_token(token) and token not in str(await server.memory.keys.all())
        answer = await server.client.get("/v1/tasks")
        assert told(answer) == (401, "KeyRequired")
        assert answer.headers["www-authenticate"] == 'Bearer realm="offload"'
        assert (await ask(server, token, "GET", "/v1/tasks")).status_code == 200
        await server.client.delete(f"/v1/keys/{made.json()['id']}")
        assert told(await ask(server, token, "DELETE", f"/v1/keys/{made.json()['id']}")) == (403, "ScopeMissing")


@pytest.mark.parametrize("header", ["{0}", "Basic {0}", "Bearer", "Bearer ", "Bearer {0}x", "Bearer {1}", "Bearer é"])
async def test_only_a_right_key_in_the_right_place_is_a_key(tmp_path: Path, header: str) -> None:
    async with serving(tmp_path) as server:
        token = await key_of(server, "anna")
        text = header.format(token, token[:-1] + ("a" if token[-1] != "a" else "b"))
        answer = await server.client.get("/v1/tasks", headers=[(b"authorization", text.encode("latin-1"))])
        assert told(answer) == (401, "KeyRequired")
        assert answer.headers["www-authenticate"].startswith('Bearer realm="offload"')
        assert told(await server.client.get(f"/v1/tasks?key={token}")) == (401, "KeyRequired")


async def test_a_stranger_finds_only_what_is_open(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await key_of(server, "anna")
        found = set()
        for path, methods in ROUTES.items():
            for method in methods:
                if "{link}" in path:
                    continue  # a link is its own key, and a stranger has none: tested in test_leases.py
                address = path.replace("{name}", "style.css").replace("{", "").replace("}", "")
                if (await server.client.request(method, address)).status_code != 401:
                    found.add((method, path))
        pages = ("/", "/docs", "/docs/{name}", "/dashboard/{name}", "/client.js", "/client.d.ts", "/client/{name}")
        signing_out = ("DELETE", "/v1/session")
        assert found == {signing_out} | {("GET", path) for path in ("/healthz", "/readyz", *pages)}


async def test_metrics_can_be_opened_by_a_setting(tmp_path: Path) -> None:
    async with serving(tmp_path, config=HttpConfig(metrics_open=True)) as server:
        token = await key_of(server, "anna")
        assert (await server.client.get("/metrics")).status_code == 200
    async with serving(tmp_path / "closed") as server:
        token = await key_of(server, "anna")
        assert told(await ask(server, token, "GET", "/metrics")) == (403, "ScopeMissing")
        admin = await key_of(server, "ops", ADMIN)
        text = (await ask(server, admin, "GET", "/metrics")).text
        assert "anna" not in text and "ops" not in text


async def test_a_key_is_for_its_scopes(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        reads, submits = await key_of(server, "anna", READ), await key_of(server, "anna", SUBMIT)
        works, admin = await key_of(server, "anna", KeyScope.WORK), await key_of(server, "anna", ADMIN)
        task = (await ask(server, submits, "POST", "/v1/jobs/ping")).json()
        answer = await ask(server, submits, "GET", f"/v1/tasks/{task['id']}")
        assert told(answer) == (403, "ScopeMissing") and answer.json()["scopes"] == ["read"]
        assert 'error="insufficient_scope", scope="read"' in answer.headers["www-authenticate"]
        assert (await ask(server, reads, "GET", f"/v1/tasks/{task['id']}")).status_code == 200
        assert told(await ask(server, reads, "POST", "/v1/jobs/ping")) == (403, "ScopeMissing")
        assert told(await ask(server, reads, "POST", "/v1/queues/default/pause")) == (403, "ScopeMissing")
        assert told(await ask(server, works, "GET", "/v1/tasks")) == (403, "ScopeMissing")
        assert (await ask(server, works, "GET", "/v1/jobs")).status_code == 200
        assert (await ask(server, admin, "POST", "/v1/queues/default/pause")).status_code == 200
        assert (await ask(server, admin, "GET", f"/v1/tasks/{task['id']}")).status_code == 200


async def test_a_revoked_and_an_expired_key_end_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        admin, token = await key_of(server, "ops", ADMIN), await key_of(server, "anna")
        short = await key_of(server, "anna", expires_seconds=0.0)
        assert told(await ask(server, short, "GET", "/v1/tasks")) == (401, "KeyRequired")
        listed = (await ask(server, admin, "GET", "/v1/keys")).json()["keys"]
        assert [key["owner"] for key in listed] == ["ops", "anna", "anna"]
        assert listed[0]["last_used_at"] is not None
        assert (await ask(server, token, "GET", "/v1/tasks")).status_code == 200
        revoked = await ask(server, admin, "DELETE", f"/v1/keys/{listed[1]['id']}")
        assert revoked.status_code == 200 and revoked.json()["revoked_at"] is not None
        gone = await ask(server, token, "GET", "/v1/tasks")
        assert told(gone) == (401, "KeyRequired") and "was revoked" in gone.json()["detail"]
        assert 'error="invalid_token"' in gone.headers["www-authenticate"]
        await server.keyring.load()
        assert told(await ask(server, token, "GET", "/v1/tasks")) == (401, "KeyRequired")
        assert told(await ask(server, admin, "DELETE", "/v1/keys/nosuch")) == (404, "KeyDoesNotExist")


async def test_a_key_that_another_node_revoked_ends_soon(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        token = await key_of(server, "anna")
        (key,) = await server.memory.keys.all()
        await server.memory.keys.revoke(key.id, at=server.engine.clock.now())
        async with asyncio.timeout(30):
            while (await ask(server, token, "GET", "/v1/tasks")).status_code != 401:
                await asyncio.sleep(0.1)


async def test_tracebacks_are_for_admins(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        token, admin = await key_of(server, "anna"), await key_of(server, "ops", ADMIN)
        made = await ask(server, token, "POST", "/v1/jobs/fail", {"message": "no"})
        path = made.headers["location"]
        own = (await ask(server, token, "GET", f"{path}?wait=30")).json()
        assert own["error"] == {"type": "ValueError", "message": "no"}
        assert "traceback" not in (await ask(server, token, "GET", f"{path}/result")).text
        assert "traceback" not in (await ask(server, token, "GET", "/v1/tasks")).text.lower()
        assert "traceback" not in (await ask(server, token, "GET", f"{path}/events")).text.lower()
        for address in (path, f"{path}/result"):
            assert "traceback" in (await ask(server, admin, "GET", address)).json()["error"]


async def test_queues_tell_an_owner_only_of_their_own_tasks(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        anna, bert = await key_of(server, "anna"), await key_of(server, "bert")
        admin = await key_of(server, "ops", ADMIN)
        await ask(server, admin, "POST", "/v1/queues/default/pause")
        for token in (anna, anna, bert):
            assert (await ask(server, token, "POST", "/v1/jobs/ping")).status_code == 202
        seen = {token: (await ask(server, token, "GET", "/v1/queues/default")).json() for token in (anna, bert, admin)}
        assert [queue["queued"] for queue in seen.values()] == [2, 1, 3]
        assert [queue["tasks"] for queue in seen.values()] == [2, 1, 3]
        assert seen[anna]["oldest_wait_seconds"] is None and seen[anna]["arrivals_per_second"] is None
        assert seen[anna] in (await ask(server, anna, "GET", "/v1/queues")).json()["queues"]


async def test_a_key_has_its_rate_and_says_what_is_left(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        token = await key_of(server, "anna", rate=Rate(count=3, seconds=86_400.0))
        free = await key_of(server, "bert")
        answers = [await ask(server, token, "GET", "/v1/tasks") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert [answer.headers["ratelimit-policy"] for answer in answers] == ['"requests";q=3;w=86400'] * 4
        assert [answer.headers["ratelimit"].partition(";t=")[0] for answer in answers] == [
            f'"requests";r={left}' for left in (2, 1, 0, 0)
        ]
        assert told(answers[3]) == (429, "QuotaExceeded") and int(answers[3].headers["retry-after"]) > 20_000
        other = await ask(server, free, "GET", "/v1/tasks")
        assert other.status_code == 200 and "ratelimit" not in other.headers


async def test_an_owner_may_have_so_many_unfinished_tasks(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        token, admin = await key_of(server, "anna", tasks_max=2), await key_of(server, "ops", ADMIN)
        for _ in range(5):  # what has ended does not count
            assert (await ask(server, token, "POST", "/v1/tasks", {"job": "ping", "run": True})).status_code == 201
            path = (await ask(server, token, "GET", "/v1/tasks")).json()["tasks"][0]["links"]["self"]
            assert (await ask(server, token, "GET", f"{path}?wait=30")).json()["status"] == "DONE"
        await ask(server, admin, "POST", "/v1/queues/default/pause")
        batch = {"tasks": [{"job": "ping"}] * 3}
        assert told(await ask(server, token, "POST", "/v1/tasks/batch", batch)) == (429, "QuotaExceeded")
        assert (await ask(server, token, "POST", "/v1/tasks", {"job": "ping"})).status_code == 201
        last = await ask(server, token, "POST", "/v1/jobs/ping")
        assert last.status_code == 202
        full = await ask(server, token, "POST", "/v1/jobs/ping")
        assert told(full) == (429, "QuotaExceeded") and full.headers["retry-after"] == "1"
        assert full.headers["ratelimit-policy"] == '"tasks";q=2;qu="concurrent-requests"'
        assert (await ask(server, await key_of(server, "bert"), "POST", "/v1/jobs/ping")).status_code == 202
        await ask(server, token, "POST", f"{last.headers['location']}/cancel")
        assert (await ask(server, token, "POST", f"{last.headers['location']}/retry")).status_code == 202
        assert told(await ask(server, token, "POST", "/v1/jobs/ping")) == (429, "QuotaExceeded")


async def test_many_at_once_do_not_pass_the_limit(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        token, admin = await key_of(server, "anna", tasks_max=5), await key_of(server, "ops", ADMIN)
        await ask(server, admin, "POST", "/v1/queues/default/pause")
        answers = await asyncio.gather(*(ask(server, token, "POST", "/v1/jobs/ping") for _ in range(30)))
        assert sorted(answer.status_code for answer in answers) == [202] * 5 + [429] * 25


async def test_an_owner_may_have_so_much_stored(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        token = await key_of(server, "anna", bytes_max=10_000)
        headers = {**bearer(token), "content-type": "application/octet-stream"}
        sent = [await server.client.post("/v1/files", content=b"x" * 4_000, headers=headers) for _ in range(3)]
        assert [answer.status_code for answer in sent] == [201, 201, 429]
        assert sent[2].headers["ratelimit-policy"] == '"bytes";q=10000;qu="content-bytes"'

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(4):
                yield b"x" * 1_000

        chunked = [await server.client.post("/v1/files", content=pieces(), headers=headers) for _ in range(2)]
        assert [answer.status_code for answer in chunked] == [201, 429], "what announces no size is counted too"


async def test_what_is_deleted_makes_room_again(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        token = await key_of(server, "anna", bytes_max=10_000)
        headers = {**bearer(token), "content-type": "image/png", "prefer": "wait=30"}
        first = await server.client.post("/v1/jobs/copy", content=b"x" * 4_000, headers=headers)
        assert first.status_code == 200
        async with asyncio.timeout(30):  # the result of the first counts too, once it is looked for
            while (await server.client.post("/v1/jobs/copy", content=b"x" * 2_500, headers=headers)).status_code != 429:
                await asyncio.sleep(0.1)
        for task in (await ask(server, token, "GET", "/v1/tasks")).json()["tasks"]:
            assert (await ask(server, token, "DELETE", task["links"]["self"])).status_code == 200
        async with asyncio.timeout(30):
            while (await server.client.post("/v1/jobs/copy", content=b"x" * 2_500, headers=headers)).status_code == 429:
                await asyncio.sleep(0.1)


async def test_strangers_hear_that_there_is_trouble_and_not_which(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        setattr(server.engine.parts.workers, "workers", list)  # noqa: B010 - an instance of a protocol
        assert (await server.client.get("/readyz")).json()["checks"]["workers"] == "none running"
        await key_of(server, "anna")
        answer = await server.client.get("/readyz")
        assert told(answer) == (503, "NotReady") and answer.json()["checks"]["workers"] == "trouble"
        assert "none running" not in answer.text


async def test_wrong_keys_tire_their_own_address_and_nobody_with_a_right_one(tmp_path: Path) -> None:
    async with serving(tmp_path, clock=HandClock()) as server:
        token = await key_of(server, "anna")
        statuses = [(await ask(server, new_token(), "GET", "/v1/tasks")).status_code for _ in range(30)]
        assert statuses == [401] * 10 + [429] * 20
        answer = await ask(server, new_token(), "GET", "/v1/tasks")
        assert told(answer) == (429, "QuotaExceeded") and int(answer.headers["retry-after"]) >= 1
        spoofed = {**bearer(new_token()), "x-forwarded-for": "203.0.113.9"}
        assert (await server.client.get("/v1/tasks", headers=spoofed)).status_code == 429
        assert (await ask(server, token, "GET", "/v1/tasks")).status_code == 200


async def test_each_key_has_only_so_many_event_streams_open(tmp_path: Path) -> None:
    config = HttpConfig(streams_per_client_max=1)
    async with listening(tmp_path, config=config) as server:
        tokens = [await key_of(server.server, owner) for owner in ("anna", "bela")]
        paths = [
            (await ask(server.server, token, "POST", "/v1/jobs/hold", {"gate": "streams"})).json()["links"]["events"]
            for token in tokens
        ]
        heads = [
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
            for path, token in zip(paths, tokens, strict=True)
        ]
        held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in tokens]
        for (reader, writer), head in zip(held, heads, strict=True):  # another key has its own share
            writer.write(head)
            assert b"200 OK" in await reader.readuntil(b"event: status")
        answer = await ask(server.server, tokens[0], "GET", paths[0])
        assert told(answer) == (429, "QuotaExceeded") and answer.headers["retry-after"] == "5"
        assert answer.json()["limit"] == 1 and "this key has 1 event streams open already" in answer.json()["detail"]
        held[0][1].close()
        gate_of("streams").set()
        async with asyncio.timeout(30):
            while (await ask(server.server, tokens[0], "GET", paths[0])).status_code != 200:
                await asyncio.sleep(0.01)
        held[1][1].close()


def test_an_ipv6_network_is_one_address() -> None:
    assert network_of("2001:db8:1:2::1") == network_of("2001:db8:1:2:ffff::9") != network_of("2001:db8:1:3::1")
    assert network_of("203.0.113.7") == "203.0.113.7" == network_of("::ffff:203.0.113.7")
    assert network_of("fe80::1%eth0") == network_of("fe80::2") and network_of("testclient") == "testclient"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"owner": "anna"},
        {"owner": "anna", "scopes": []},
        {"owner": "anna", "scopes": ["root"]},
        {"owner": "an na", "scopes": ["read"]},
        {"owner": "", "scopes": ["read"]},
        {"owner": "anna", "scopes": ["read"], "rate": "fast"},
        {"owner": "anna", "scopes": ["read"], "rate": "0/s"},
        {"owner": "anna", "scopes": ["read"], "tasks_max": 0},
        {"owner": "anna", "scopes": ["read"], "bytes_max": True},
        {"owner": "anna", "scopes": ["read"], "expires_seconds": -1},
        {"owner": "anna", "scopes": ["read"], "colour": "red"},
    ],
)
async def test_a_wrong_wish_makes_no_key(tmp_path: Path, body: object) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.post("/v1/keys", json=body)
        assert told(answer) == (400, "WrongValue")
        assert not server.keyring.locked and await server.memory.keys.all() == []
