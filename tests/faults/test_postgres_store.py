"""What the PostgreSQL store owes when its server is killed, cut off or frozen: nothing lost, nothing in doubt."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import asyncpg
import msgspec
import pytest

from offload.conformance.making import add, claim, claimed, queued
from offload.core.errors import StoreUnavailable, WrongSetting
from offload.core.store_errors import StoreInDoubt
from offload.core.task import ALL, Progress, Status
from offload.core.transitions import Event, Facts, decide
from offload.ports import Filter, Note, Renewal, Retention
from offload.stores.postgres.store import PostgresStore
from tests.backends.cut_wire import CutWire, When
from tests.backends.postgres import Postgres
from tests.backends.waiting import watch


@pytest.fixture
def server() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@asynccontextmanager
async def opened(url: str, **given: bool) -> AsyncIterator[PostgresStore]:
    store = await PostgresStore.open(url, **given)
    try:
        yield store
    finally:
        await store.close()


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while True:
            try:
                if await condition():
                    return
            except StoreUnavailable:
                pass
            await asyncio.sleep(0.02)


async def counted(store: PostgresStore) -> dict[str, int]:
    (depth,) = await store.depths()
    return {"queued": depth.queued, "ready": depth.ready, "running": depth.running}


@pytest.mark.deadline(180)
async def test_what_was_acknowledged_is_there_after_every_kill_of_the_server(server: Postgres) -> None:
    async with opened(server.url()) as store, watch() as clock:
        acknowledged: set[str] = set()
        refused: list[float] = []
        stopping = False

        async def caller() -> None:
            while not stopping:
                begun = clock.now()
                try:
                    acknowledged.add((await add(store)).id)
                except StoreUnavailable as error:
                    assert error.retry_seconds
                    refused.append(clock.now() - begun)
                    await asyncio.sleep(0.01)

        callers = [asyncio.create_task(caller()) for _ in range(16)]
        for end in (server.kill, server.stop, server.shut_down):
            before = len(acknowledged)
            await until(lambda before=before: _more(acknowledged, before + 200))  # type: ignore[misc]
            await asyncio.to_thread(end)
            await asyncio.to_thread(server.start)
        before = len(acknowledged)
        await until(lambda: _more(acknowledged, before + 200))  # the same store, without a restart
        stopping = True
        await asyncio.gather(*callers)
        assert refused and max(refused) < 3.0  # 2 s, and what a busy machine adds
        connection = await asyncpg.connect(server.url())
        rows = [row[0] for row in await connection.fetch("SELECT id FROM offload.requests")]
        await connection.close()
        assert acknowledged <= set(rows) and len(rows) == len(set(rows))
        (depth,) = await store.depths()
        assert depth.queued == depth.ready == len(rows)


async def _more(found: set[str], count: int) -> bool:
    return len(found) >= count


async def test_a_commit_that_was_not_answered_is_known_when_the_way_is_back(server: Postgres) -> None:
    async with CutWire(server.port) as wire:
        url = server.url().replace(str(server.port), str(wire.port))
        async with opened(url) as store:
            first, second = await claimed(store), await claimed(store)
            server.run("DELETE FROM offload.marks")  # as a purge would, of connections that were idle for long
            wire.cut("after")
            done = decide(first, Event.SUCCEED, Facts(now=1_001.0, result=b"1"))
            assert await store.apply([done]) == [True]
            wire.cut("before")
            done = decide(second, Event.SUCCEED, Facts(now=1_001.0, result=b"1"))
            with pytest.raises(StoreUnavailable):
                await store.apply([done])
            assert wire.cuts == 2
            assert [task.status for task in await store.find(ALL, Filter())] == [Status.RUNNING, Status.DONE]
            assert await store.apply([done]) == [True]  # it changed nothing, so it can be done again
            assert await counted_rows(server) == {"DONE": 2}


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_commit_in_doubt_is_asked_about_until_the_database_is_back(server: Postgres, when: When) -> None:
    async with CutWire(server.port) as wire:
        async with opened(server.url().replace(str(server.port), str(wire.port))) as store:
            task = await claimed(store)
            done = decide(task, Event.SUCCEED, Facts(now=1_001.0, result=b"1"))
            wire.cut(when, for_good=True)
            applying = asyncio.create_task(store.apply([done]))
            await until(lambda: _is(wire.turned_away > 10))
            server.kill()
            await asyncio.to_thread(server.start)
            assert not applying.done()
            wire.away = False
            (answer,) = await asyncio.gather(applying, return_exceptions=True)
            if when == "after":
                assert answer == [True]
            else:
                assert isinstance(answer, StoreUnavailable)
                assert await store.get(ALL, task.id) == task
                assert await store.apply([done]) == [True]
            assert wire.cuts == 1 and await counted_rows(server) == {"DONE": 1}


async def test_marks_of_commits_are_kept_for_a_day_and_then_dropped(server: Postgres) -> None:
    async with opened(server.url()) as store:
        await add(store)
        server.run(
            "INSERT INTO offload.marks VALUES ('old', 1, now() - interval '25 hours'), "
            "('young', 2, now() - interval '23 hours')"  # its connection may be cut off since then, and will ask
        )
        kept = server.run("SELECT count(*) FROM offload.marks WHERE link <> 'old'")
        await store.purge(Retention(now=1_001.0, audit_seconds=60.0, key_seconds=60.0, limit=10))
        assert server.run("SELECT number FROM offload.marks WHERE link IN ('old', 'young')") == "2"
        assert int(server.run("SELECT count(*) FROM offload.marks")) >= int(kept)


async def test_a_commit_that_never_reached_the_disk_is_not_taken_for_another() -> None:
    """A server that is killed gives the numbers of transactions its disk knows nothing of to those that come next."""
    idle = {"wal_writer_delay": "10s", "autovacuum": "off"}  # nothing but a commit brings anything to the disk
    with Postgres(idle) as server:
        async with CutWire(server.port) as wire:
            async with opened(server.url().replace(str(server.port), str(wire.port))) as store:
                task = await claimed(store)
                done = decide(task, Event.SUCCEED, Facts(now=1_001.0, result=b"1"))
                wire.cut("before", for_good=True)
                applying = asyncio.create_task(store.apply([done]))
                await until(lambda: _is(wire.away))
                server.kill()
                await asyncio.to_thread(server.start)
                for number in range(20):
                    server.run(f"CREATE TABLE takes_number_{number} ()")
                wire.away = False
                with pytest.raises(StoreUnavailable):
                    await applying
                assert await counted_rows(server) == {"RUNNING": 1}
                assert await store.apply([done]) == [True]


async def test_what_is_said_of_a_task_that_a_crash_took_is_not_taken_for_another_that_was_given_its_key() -> None:
    """Relaxed, or on a standby that was behind, the newest tasks are gone after a crash; their numbers come again."""
    idle = {"wal_writer_delay": "10s", "autovacuum": "off", "bgwriter_lru_maxpages": "0"}
    with Postgres(idle) as server:
        async with opened(server.url(), relaxed=True) as store:
            async with asyncio.timeout(60):
                while True:
                    lost = await claimed(store)
                    server.kill()
                    await asyncio.to_thread(server.start)
                    await until(lambda: _reached(store))
                    again = await claimed(store)
                    if again.key == lost.key:  # else it reached the disk after all
                        break
            assert (again.attempt, again.version, again.node) == (lost.attempt, lost.version, lost.node)
            done = decide(lost, Event.SUCCEED, Facts(now=1_001.0, result=b"of another"))
            assert await store.note([Note(task=lost, progress=Progress(fraction=0.5))]) == [False]
            assert await store.renew([lost], lease_until=1e10) == [Renewal(held=False)]
            assert await store.apply([done]) == [False]
            assert await store.get(ALL, again.id) == again


async def _is(condition: bool) -> bool:
    return condition


async def test_a_claim_whose_commit_was_not_answered_is_not_forgotten(server: Postgres) -> None:
    async with CutWire(server.port) as wire:
        async with opened(server.url().replace(str(server.port), str(wire.port))) as store:
            task = await add(store)
            wire.cut("after")
            assert [taken.id for taken in await claim(store)] == [task.id]


async def counted_rows(server: Postgres) -> dict[str, int]:
    connection = await asyncpg.connect(server.url())
    rows = await connection.fetch("SELECT status, count(*) FROM offload.tasks GROUP BY status")
    await connection.close()
    return {status: count for status, count in rows}


async def test_a_submit_to_a_frozen_server_is_refused_in_time_and_changes_nothing(server: Postgres) -> None:
    async with opened(server.url()) as store, watch() as clock:
        await add(store)
        server.pause()
        begun = clock.now()
        with pytest.raises(StoreUnavailable):
            await add(store)
        assert clock.now() - begun < 4.0  # 2 s, and what a busy machine adds
        server.resume()
        # it was on its way: what it stored is taken back, for its client was told that nothing is there
        async with asyncio.timeout(30):
            while not await _holds_one(store):
                await asyncio.sleep(0.05)
        assert await add(store)


async def test_of_submits_in_doubt_only_those_that_no_client_can_name_are_taken_back(server: Postgres) -> None:
    named = msgspec.structs.replace(queued(), idempotency_key="once", fingerprint="what was asked")
    async with CutWire(server.port) as wire, opened(server.url()) as other:
        async with opened(server.url().replace(str(server.port), str(wire.port))) as store:
            wire.cut("after", for_good=True)
            refused = await asyncio.gather(store.add([named]), store.add([queued()]), return_exceptions=True)
            assert [type(error) for error in refused] == [StoreInDoubt, StoreInDoubt]
            assert await _holds(other, 2)
            (again,) = await other.add([msgspec.structs.replace(named, task=queued().task)])
            assert again.task.id == named.task.id  # another node has told the client that its task is there
            wire.away = False
            await until(lambda: _holds(other, 1))
            assert await other.get(ALL, named.task.id)


async def test_who_is_stored_while_others_of_the_same_batch_still_wait_is_told_so_at_once(server: Postgres) -> None:
    """Each goes alone when one of them cannot be written: a late answer would be a doubt, and the task there twice."""
    wrong, good, blocked = queued(id="no\0id"), queued(), queued()
    async with opened(server.url()) as store:
        other = await asyncpg.connect(server.url())
        async with other.transaction():
            await other.execute(
                "INSERT INTO offload.requests (key, id, owner, job, queue, created_at, fingerprint, input) "
                f"VALUES (0, '{blocked.task.id}', '', '', '', 0, '', '')"
            )
            calls = (store.add([wrong]), store.add([good]), store.add([blocked]))
            refused, added, late = await asyncio.gather(*calls, return_exceptions=True)
            assert isinstance(refused, asyncpg.PostgresError) and isinstance(late, StoreInDoubt)
            assert isinstance(added, list) and added[0].task.id == good.task.id
        await other.close()


async def _holds(store: PostgresStore, count: int) -> bool:
    return (await counted(store))["queued"] == len(await store.find(ALL, Filter())) == count


async def _holds_one(store: PostgresStore) -> bool:
    try:
        return (await counted(store))["queued"] == len(await store.find(ALL, Filter())) == 1
    except StoreUnavailable:
        return False


async def test_a_lease_that_ended_while_the_server_was_away_is_renewed_when_nobody_took_the_task(
    server: Postgres,
) -> None:
    async with opened(server.url()) as store:
        task = await claimed(store)
        await asyncio.to_thread(server.kill)
        with pytest.raises(StoreUnavailable):
            await store.renew([task], lease_until=2_000.0)
        await asyncio.to_thread(server.start)
        await until(lambda: _reached(store))
        (renewal,) = await store.renew([task], lease_until=1e10)
        assert renewal.held


async def _reached(store: PostgresStore) -> bool:
    return await store.nodes.now() is not None


async def test_a_server_that_refuses_those_who_come_back_is_away_and_not_set_wrongly(server: Postgres) -> None:
    """What is being restored or moved lets nobody in for a while; whoever could connect once goes on trying."""
    async with opened(server.create("app")) as store:
        task = await claimed(store)
        server.run("ALTER DATABASE app ALLOW_CONNECTIONS false")
        server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'app'")
        done = decide(task, Event.SUCCEED, Facts(now=1_001.0, result=b"1"))
        with pytest.raises(StoreUnavailable):
            await store.apply([done])
        with pytest.raises(StoreUnavailable):
            await claim(store)
        server.run("ALTER DATABASE app ALLOW_CONNECTIONS true")
        await until(lambda: _reached(store))
        assert await store.apply([done]) == [True]


async def test_connections_that_cannot_be_made_ready_are_closed(server: Postgres) -> None:
    server.run("CREATE USER poor")
    server.run("CREATE DATABASE poor OWNER poor")
    async with opened(server.url("poor").replace("//offload@", "//poor@")) as store:
        await add(store)
        server.run("REVOKE EXECUTE ON FUNCTION pg_try_advisory_lock(int, int) FROM PUBLIC", "poor")
        made = int(server.run("SELECT sessions FROM pg_stat_database WHERE datname = 'poor'"))
        gc.disable()  # or it would close them, later
        try:
            server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'poor'")
            await until(lambda: _made(server, made + 8))
            await until(lambda: _are_few(server))
        finally:
            gc.enable()
        server.run("GRANT EXECUTE ON FUNCTION pg_try_advisory_lock(int, int) TO PUBLIC", "poor")
        await until(lambda: _reached(store))


async def _made(server: Postgres, connections: int) -> bool:
    """Tell whether so many connections have been opened, and ended or used."""
    return int(server.run("SELECT sessions FROM pg_stat_database WHERE datname = 'poor'")) >= connections


async def _are_few(server: Postgres) -> bool:
    return int(server.run("SELECT count(*) FROM pg_stat_activity WHERE usename = 'poor'")) <= 3


async def test_a_standby_is_never_asked_in_place_of_its_primary(server: Postgres) -> None:
    """It may be behind: what it does not know of would be taken for gone, and what it still knows for valid."""
    async with opened(server.url()):
        pass
    with server.standby() as standby:
        with pytest.raises(StoreUnavailable, match="it is a standby"):
            await PostgresStore.open(standby.url())
        url = server.url().replace(f":{server.port}", f":{server.port},127.0.0.1:{standby.port}")
        async with opened(url) as store:
            task = await add(store)
            await asyncio.to_thread(server.kill)
            with pytest.raises(StoreUnavailable):
                await store.get(ALL, task.id)
            await asyncio.to_thread(server.start)
            await until(lambda: _reached(store))
            assert await store.get(ALL, task.id) and await add(store)


async def test_a_server_that_does_not_write_to_its_disk_is_refused() -> None:
    with Postgres({"fsync": "off"}) as server:
        with pytest.raises(WrongSetting, match="fsync = off"):
            await PostgresStore.open(server.url())
        async with opened(server.url(), relaxed=True) as store:
            await store.add([queued()])
