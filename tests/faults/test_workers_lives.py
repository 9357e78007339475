"""Worker processes: how they begin, wear out, are replaced, and how none outlives its server."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from offload.core.outcome import Outcome, Stopped, Succeeded, Unrun
from offload.core.task import Reason
from tests.faults.pools import JOBS, LANE_JOBS, PATIENCE_SECONDS, alive, bench
from tests.faults.test_workers_outcomes import failed


def number(outcome: Outcome) -> int:
    assert isinstance(outcome, Succeeded) and outcome.json is not None, outcome
    return int(outcome.json)


async def test_a_job_with_workers_of_its_own_has_them_and_is_built_before_its_first_task(tmp_path: Path) -> None:
    async with bench(tmp_path, LANE_JOBS) as b:
        lanes = {room.jobs: room.lane for room in b.pool.rooms()}
        assert len(set(lanes.values())) == len(lanes) == 3
        assert number(await b.run("alone")) == number(await b.run("alone"))
        await b.begin("alone")
        await b.until(lambda: b.places("alone") == 0 and b.places("short_lived") == 1)


async def test_a_process_is_replaced_after_its_number_of_tasks_and_does_no_more(tmp_path: Path) -> None:
    async with bench(tmp_path, LANE_JOBS) as b:
        pids = [number(await b.run("short_lived")) for _ in range(6)]
        assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 2, 2]
        await b.until(lambda: not any(alive(pid) for pid in pids))


async def test_a_process_whose_last_task_is_canceled_before_it_begins_leaves(tmp_path: Path) -> None:
    """It was to go after that task, and its successor is there: it must not stay for nothing."""
    async with bench(tmp_path, LANE_JOBS) as b:
        first = number(await b.run("short_lived"))
        last = await b.start("short_lived")
        b.pool.cancel(last)
        assert b.ear.outcomes[last.id] == Stopped(), "the frame had not even left"
        await b.until(lambda: not alive(first))
        assert number(await b.run("short_lived")) != first


async def test_a_process_that_holds_too_much_is_replaced_between_tasks(tmp_path: Path) -> None:
    async with bench(tmp_path, LANE_JOBS) as b:
        first = number(await b.run("grows", megabytes=1))
        assert number(await b.run("grows", megabytes=200)) == first
        assert number(await b.run("grows", megabytes=1)) != first


async def test_poison_takes_nobody_with_it(tmp_path: Path) -> None:
    async with bench(tmp_path, workers=2) as b:

        async def begun(n: int) -> Outcome:
            """Run as an engine does: what is given back unrun is handed over again."""
            while True:
                given = ("leaves", {"code": 1}) if n % 10 == 5 else ("add", {"a": n, "b": 0})
                outcome = await b.run(given[0], **given[1])
                if not isinstance(outcome, Unrun):
                    return outcome

        for n, outcome in enumerate(await asyncio.gather(*(begun(n) for n in range(60)))):
            if n % 10 == 5:
                failed(outcome, Reason.WORKER_LOST, died=True)
            else:
                assert number(outcome) == n


async def test_jobs_that_cannot_be_loaded_are_tried_again_ever_less_often(tmp_path: Path) -> None:
    """The file is right when the server reads it, then broken, then right again."""
    jobs = tmp_path / "fickle_jobs.py"
    right = "from offload import job\n\n@job\ndef one() -> int:\n    return 1\n"
    switch = tmp_path / "broken"
    tries = tmp_path / "tries"
    jobs.write_text(
        right
        + f"import os\nif os.environ.get('OFFLOAD_CHILD'):\n    open({str(tries)!r}, 'a').write('x')\n"
        + f"    assert not os.path.exists({str(switch)!r}), 'broken by the test'\n"
    )
    switch.touch()
    async with bench(tmp_path, str(jobs)) as b:
        assert b.places("one") == 0
        await b.until(lambda: len(tries.read_text()) >= 2)
        assert b.places("one") == 0
        switch.unlink()
        assert await b.run("one") == Succeeded(json=b"1")
        assert len(tries.read_text()) <= 6


async def test_processes_that_die_before_they_are_ready_are_started_ever_less_often(tmp_path: Path) -> None:
    jobs = tmp_path / "dying_jobs.py"
    tries = tmp_path / "tries"
    jobs.write_text(
        "import os, time\nfrom offload import job\n\n@job\ndef one() -> int:\n    return 1\n\n"
        f"if os.environ.get('OFFLOAD_CHILD'):\n    open({str(tries)!r}, 'a').write(f'{{time.monotonic()}} ')\n"
        "    os._exit(3)\n"
    )
    async with bench(tmp_path, str(jobs)) as b:
        assert b.places("one") == 0
        await b.until(lambda: len(tries.read_text().split()) >= 3)
        first, second, third = (float(word) for word in tries.read_text().split()[:3])
        assert second - first >= 0.5 and third - second >= 1.0


SERVER = """
import asyncio, os, sys
from pathlib import Path
from tests.faults.pools import bench, JOBS

async def main():
    async with bench(Path(sys.argv[1]), JOBS, workers=2) as b:
        one, pid = await b.begin("leaves_a_daemon", daemon=sys.argv[1] + "/daemon")
        two, other = await b.begin("ignores_everything")
        print(pid, other, Path(sys.argv[1] + "/daemon").read_text(), b.pool._watchdog._process.pid, flush=True)
        await asyncio.sleep(120)

asyncio.run(main())
"""


async def test_nothing_outlives_a_server_that_is_killed(tmp_path: Path) -> None:
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, str(tmp_path), stdout=subprocess.PIPE, cwd=Path(JOBS).parents[2]
    )
    try:
        assert server.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            pids = [int(word) for word in (await server.stdout.readline()).split()]
        assert len(pids) == 4 and all(alive(pid) for pid in pids)
    finally:
        server.kill()
        await server.wait()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while any(alive(pid) for pid in pids):
            await asyncio.sleep(0.02)


async def test_a_watchdog_that_dies_is_replaced(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        first = b.pool._watchdog._process
        assert first is not None
        os.kill(first.pid, signal.SIGKILL)
        await b.until(lambda: b.pool._watchdog._process not in (None, first))
        assert not alive(first.pid)
        assert await b.run("add", a=1, b=1) == Succeeded(json=b"2")


async def test_a_stopped_pool_leaves_no_process_and_no_descriptor(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    async with bench(tmp_path, workers=2) as b:
        for _ in range(5):
            await b.run("leaves", code=1)
        pids = b.pids()
    assert not any(alive(pid) for pid in pids)
    assert len(os.listdir("/proc/self/fd")) <= before
