"""A pooler before PostgreSQL: one that pools sessions serves, one that lends connections for less is refused."""

import asyncio
from collections.abc import Iterator

import pytest

from offload.conformance.making import add, claim
from offload.core.errors import StoreUnavailable, WrongSetting
from offload.core.ring import Ring
from offload.stores.postgres.bell import PostgresBell
from offload.stores.postgres.sessions import Place, connect
from offload.stores.postgres.store import PostgresStore
from tests.backends.pgbouncer import PgBouncer
from tests.backends.postgres import Postgres


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_a_pooler_that_lends_connections_for_less_than_a_session_is_refused(server: Postgres, mode: str) -> None:
    with PgBouncer(server, mode) as pooler:
        with pytest.raises(WrongSetting, match="pool_mode = session"):
            await PostgresStore.open(pooler.url())


async def test_a_pooler_of_sessions_serves_and_is_told_what_they_are_to_be_like(server: Postgres) -> None:
    with PgBouncer(server, "session") as pooler:
        connection = await connect(Place(url=pooler.url()))
        told = {"search_path": "offload", "enable_seqscan": "off", "synchronous_commit": "on"}
        assert {name: await connection.fetchval(f"SHOW {name}") for name in told} == told
        await connection.close()
        store, heard = await PostgresStore.open(pooler.url()), asyncio.Event()
        bells = [PostgresBell(pooler.url(), node=node) for node in ("a", "b")]
        await bells[0].start(lambda ring: heard.set())
        await bells[1].start(lambda ring: None)
        await asyncio.gather(*(add(store) for _ in range(20)))
        assert len(await claim(store, limit=5)) == 5
        await bells[1].ring(Ring(changed=frozenset({"a task"})))
        async with asyncio.timeout(30):
            await heard.wait()
        server.kill()
        with pytest.raises(StoreUnavailable):
            await add(store)
        await asyncio.to_thread(server.start)
        async with asyncio.timeout(60):
            while True:
                try:
                    assert await add(store)
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.05)
        for bell in bells:
            await bell.stop()
        await store.close()
