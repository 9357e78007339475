"""What the SQLite store does when processes are killed, the disk is full, or the file is not what it should be."""

import asyncio
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import apsw
import pytest

from offload.conformance.making import NOW, add, claim, claimed, done, move, queued
from offload.conformance.test_file_store import loose
from offload.core.errors import DiskFull, StoreUnavailable
from offload.core.store_errors import StoreDamaged, StoreInDoubt, StoreInUse, StoreTooNew
from offload.core.task import ALL, Status
from offload.core.transitions import Event
from offload.ports import Filter
from offload.stores.sqlite.file import MIGRATIONS, migrate, open_writer
from offload.stores.sqlite.store import SqliteStore
from tests.faults.disks import can_mount, small_disk
from tests.faults.failing_syncs import failing_syncs
from tests.faults.store_processes import NEXT, SHORT_MIGRATION

ROOT = Path(__file__).parent.parent.parent


@contextmanager
def process(duty: str, path: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "tests.faults.store_processes", duty, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


@asynccontextmanager
async def opened(path: Path, *, checked: bool = False) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(path, checked=checked)
    try:
        yield store
    finally:
        await store.close()


def line(running: "subprocess.Popen[str]") -> str:
    assert running.stdout is not None
    return running.stdout.readline().strip()


async def test_a_second_process_is_refused_and_told_who_has_the_file(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with process("hold", path) as owner:
        assert await asyncio.to_thread(line, owner) == "ready"
        with pytest.raises(StoreInUse, match=f"pid {owner.pid}"):
            await SqliteStore.open(path)
        owner.kill()
        owner.wait()
    async with opened(path) as store:
        assert len(await store.find(ALL, Filter())) == 1
        with pytest.raises(StoreInUse, match=f"pid {os.getpid()}"):
            await SqliteStore.open(path)


@pytest.mark.parametrize("acknowledged", [1, 200, 1_000])
async def test_a_killed_writer_keeps_everything_it_acknowledged(tmp_path: Path, acknowledged: int) -> None:
    path = tmp_path / "store.sqlite"
    with process("accept", path) as running:
        assert running.stdout is not None
        ids = {await asyncio.to_thread(line, running) for _ in range(acknowledged)}
        running.send_signal(signal.SIGKILL)
        # what it had still written to the pipe is acknowledged as well; the last line may be cut
        ids |= {text[:-1] for text in await asyncio.to_thread(running.stdout.readlines) if text.endswith("\n")}
    async with opened(path, checked=True) as store:
        assert [task_id for task_id in ids if await store.get(ALL, task_id) is None] == []
        (depth,) = await store.depths()
        assert depth.queued == depth.ready >= len(ids)


async def test_a_migration_killed_in_the_middle_never_happened(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    async with opened(path) as store:
        task = await add(store)
    log = path.with_name("store.sqlite-wal")
    with process("migrate_long", path) as running:
        while not (log.exists() and log.stat().st_size > 1_000_000):  # in the middle of filling its table
            assert running.poll() is None
            await asyncio.sleep(0.01)
        running.kill()
    async with opened(path, checked=True) as store:
        assert await store.get(ALL, task.id) == task
    connection = open_writer(path, relaxed=False)
    assert connection.execute("PRAGMA user_version").fetchall() == [(len(MIGRATIONS),)]
    migrate(connection, path, [*MIGRATIONS, SHORT_MIGRATION])  # fails if anything of the long one were there
    assert connection.execute("PRAGMA user_version").fetchall() == [(NEXT,)]
    connection.close()


async def test_a_migration_that_fails_leaves_the_schema_as_it_was(tmp_path: Path) -> None:
    connection = open_writer(tmp_path / "store.sqlite", relaxed=False)
    migrate(connection, tmp_path, MIGRATIONS)
    for _ in range(2):
        with pytest.raises(apsw.SQLError):
            wrong = type(SHORT_MIGRATION)(
                number=NEXT, name="wrong", sql="CREATE TABLE extra (n); CREATE TABLE tasks (n)"
            )
            migrate(connection, tmp_path, [*MIGRATIONS, wrong])
    assert connection.execute("PRAGMA user_version").fetchall() == [(len(MIGRATIONS),)]
    connection.close()


async def test_a_file_of_a_newer_offload_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    connection = open_writer(path, relaxed=False)
    migrate(connection, path, [*MIGRATIONS, SHORT_MIGRATION])
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreTooNew, match=f"schema {NEXT}"):
        await SqliteStore.open(path)
    assert path.read_bytes() == before


async def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE theirs (n)")
    connection.close()
    with pytest.raises(StoreDamaged, match="another program"):
        await SqliteStore.open(path)


async def test_a_file_that_is_no_database_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"these are not the pages you are looking for" * 200)
    with pytest.raises(StoreDamaged, match="restore a backup"):
        await SqliteStore.open(path)


async def test_a_damaged_page_is_found_when_the_file_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    async with opened(path) as store:
        await store.add([queued() for _ in range(500)])
    with path.open("r+b") as file:
        for page in range(20, 40):
            file.seek(page * 4096)
            file.write(os.urandom(200))
    with pytest.raises(StoreDamaged):
        await SqliteStore.open(path, checked=True)


@pytest.mark.skipif(not can_mount(), reason="needs root, to mount a disk that is full soon")
async def test_a_full_disk_refuses_writes_keeps_reads_and_heals(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=4) as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(2_500_000))
        async with opened(disk / "store.sqlite") as store:
            kept = []
            with pytest.raises(DiskFull):
                while True:
                    kept += [added.task for added in await store.add([queued(input=b"x" * 2_000) for _ in range(20)])]
            assert kept and await store.get(ALL, kept[-1].id) == kept[-1]
            assert len(await store.find(ALL, Filter(limit=10_000))) == len(kept)
            assert [depth.queued for depth in await store.depths()] == [len(kept)]
            ballast.unlink()
            await add(store)
            assert [depth.queued for depth in await store.depths()] == [len(kept) + 1]
        async with opened(disk / "store.sqlite", checked=True) as store:
            assert [depth.queued for depth in await store.depths()] == [len(kept) + 1]


async def test_after_an_input_output_error_the_file_is_opened_anew(tmp_path: Path) -> None:
    async with opened(tmp_path / "store.sqlite") as store:
        task = await add(store)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # the log cannot grow: EFBIG
        try:
            with pytest.raises((StoreUnavailable, DiskFull)):
                await add(store)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        second = await add(store)
        assert await store.find(ALL, Filter()) == [second, task]
        assert [depth.queued for depth in await store.depths()] == [2]


async def after_crash(path: Path) -> list[str]:
    """Return the ids of the tasks that a store finds which starts on what the files hold now."""
    with tempfile.TemporaryDirectory() as folder:
        for name in (path.name, f"{path.name}-wal"):
            shutil.copy(path.with_name(name), folder)
        async with opened(Path(folder, path.name), checked=True) as store:
            return [task.id for task in await store.find(ALL, Filter())]


async def test_a_write_that_was_refused_because_the_disk_did_not_confirm_it_never_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with failing_syncs() as disk:
        async with opened(path) as store:
            task = await add(store)
            disk.failures = 1
            with pytest.raises(StoreUnavailable) as refused:
                await add(store)
            assert disk.failures == 0 and not isinstance(refused.value, StoreInDoubt)
            assert await after_crash(path) == [task.id]
            second = await add(store)
            assert await after_crash(path) == [second.id, task.id]


async def test_a_write_that_may_come_back_after_a_crash_is_said_to_be_in_doubt(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with failing_syncs() as disk:
        async with opened(path) as store:
            task = await add(store)
            disk.failures = 1_000
            with pytest.raises(StoreInDoubt):
                await add(store)
            assert await store.find(ALL, Filter()) == [task]
            disk.failures = 0
            second = await add(store)
            assert await store.find(ALL, Filter()) == [second, task]
            assert await after_crash(path) == [second.id, task.id]
            assert [depth.queued for depth in await store.depths()] == [2]


async def test_a_write_that_cannot_be_made_does_not_harm_those_beside_it(tmp_path: Path) -> None:
    async with opened(tmp_path / "store.sqlite") as store:
        file = loose()
        await store.add_file(file)
        calls = [store.add([queued()]), store.add_file(file), store.add([queued()])]
        first, refused, second = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(refused, apsw.ConstraintError)
        assert not isinstance(first, BaseException) and not isinstance(second, BaseException)
        assert [depth.queued for depth in await store.depths()] == [2]


async def test_a_restart_finds_the_same_counts_and_the_leases_of_the_dead_ended(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    async with opened(path) as store:
        running = await claimed(store, input_bytes=7)
        await add(store, input_bytes=3)
        await add(store, run_at=NOW + 50, queue="mail", job="send")
        await done(store, job="other")
        depths = await store.depths()
    async with opened(path) as store:
        assert await store.depths() == depths
        (overdue,) = await store.overdue(now=NOW, limit=9)
        assert overdue.id == running.id
        assert await store.next_due(NOW) == NOW + 50
        back = await move(store, overdue, Event.RETRY, run_at=NOW)
        assert back.status is Status.QUEUED
        assert len(await claim(store, "send", queue="mail", now=NOW + 50)) == 1


async def test_keys_go_on_growing_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    async with opened(path) as store:
        first = await add(store)
    async with opened(path) as store:
        assert (await add(store)).key > first.key


async def test_what_was_deleted_is_not_in_the_file_any_more(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    async with opened(path) as store:
        task = await claimed(store, input=b'"CANARY-input"', tags={"who": "CANARY-tag"})
        task = await move(store, task, Event.SUCCEED, result=b'"CANARY-result"')
        await add(store)
    assert path.read_bytes().count(b"CANARY") >= 3
    async with opened(path) as store:
        await move(store, task, Event.DELETE)
    assert b"CANARY" not in path.read_bytes()


async def test_only_the_owner_of_the_process_can_read_the_file(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        async with opened(tmp_path / "data" / "store.sqlite") as store:
            await add(store)
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir()}
            assert modes == {f"store.sqlite{end}": 0o600 for end in ("", "-wal", "-shm", ".lock")}
            assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    finally:
        os.umask(mask)


async def test_closing_writes_what_waits_and_then_refuses(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store = await SqliteStore.open(path)
    waiting = [asyncio.ensure_future(store.add([queued()])) for _ in range(50)]
    await asyncio.sleep(0)
    await store.close()
    await store.close()
    assert all(added.fresh for (added,) in await asyncio.gather(*waiting))
    with pytest.raises(StoreUnavailable):
        await store.add([queued()])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store.sqlite", "store.sqlite.lock"]
    async with opened(path) as store:
        assert len(await store.find(ALL, Filter())) == 50


async def test_a_caller_that_goes_away_does_not_stop_the_writer(tmp_path: Path) -> None:
    async with opened(tmp_path / "store.sqlite") as store:
        gone = asyncio.ensure_future(store.add([queued()]))
        await asyncio.sleep(0)
        gone.cancel()
        await add(store)
        assert [depth.queued for depth in await store.depths()] == [len(await store.find(ALL, Filter()))]
