"""The Python client on a task's event stream: a real server, and a proxy between them that cuts connections."""

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from offload.client import AsyncClient, Client, Event
from offload.core.errors import TaskDoesNotExist, TaskFailed, TaskIsCanceled
from tests.backends.free_port import free_port
from tests.cutting import CuttingProxy
from tests.servers import Server

pytestmark = pytest.mark.story

JOBS = Path(__file__).parent / "jobs_that_talk.py"
UNKNOWN = "8c0f4c7e-3b1d-4f6a-9e2b-5d7a1c9e0f34"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Server(JOBS, tmp_path_factory.mktemp("streams") / "data", "--workers", "2") as server:
        yield server.url


def statuses(events: list[Event]) -> list[str]:
    return [event.data["status"] for event in events if event.kind == "status"]


def test_iter_events_tells_states_progress_logs_and_outputs(url: str) -> None:
    with Client(url) as client:
        task = client.submit("count", to=3, pause_seconds=0.3)
        events = list(task.iter_events())
        assert [event.id for event in events] == list(range(1, len(events) + 1))
        assert statuses(events) == ["QUEUED", "RUNNING", "DONE"]
        assert [event.data for event in events if event.kind == "output"] == [1, 2, 3]
        assert "counted 3\n" in "".join(event.data for event in events if event.kind == "log")
        assert any(event.kind == "progress" and event.data["message"] == "at 1" for event in events)
        assert list(task.iter_events(after=2)) == events[2:]
        assert list(task.iter_events(after=len(events))) == []


def test_outputs_arrive_while_the_generator_runs(url: str, tmp_path: Path) -> None:
    with Client(url) as client:
        for n in client.stream("count_on_request", folder=str(tmp_path), to=3):
            (tmp_path / f"go-{n}").touch()  # the job yields the next one only now
        assert n == 3


def test_a_stream_of_outputs_ends_with_the_jobs_error(url: str, tmp_path: Path) -> None:
    with Client(url) as client:
        seen = []
        with pytest.raises(TaskFailed, match="no more"):
            for n in client.stream("count_then_fail", to=2):
                seen.append(n)
        assert seen == [1, 2]
        with pytest.raises(TaskDoesNotExist):
            list(client.task(UNKNOWN).iter_events())


def test_a_stream_that_is_left_can_be_taken_up_again_and_tells_of_a_cancel(url: str, tmp_path: Path) -> None:
    with Client(url) as client:
        task = client.submit("wait_for", gate=str(tmp_path / "never"))
        for event in task.iter_events():
            if event.data["status"] == "RUNNING":
                break
        task.cancel()
        rest = list(task.iter_events(after=event.id or 0))
        assert statuses(rest)[-1] == "CANCELED"
        assert rest[0].id == (event.id or 0) + 1
        with pytest.raises(TaskIsCanceled):
            list(task.stream())


@pytest.mark.parametrize("resets", [False, True], ids=["ended", "reset"])
def test_a_stream_that_is_cut_goes_on_without_gap_or_repeat(url: str, resets: bool) -> None:
    chance = random.Random(7)
    with CuttingProxy(url, cut_after=lambda: chance.randrange(1, 30_000), resets=resets) as proxy:
        with Client(proxy.url, retries=50) as client:
            task = client.submit("count", {"to": 1500}, options={"idempotency_key": f"cut-{resets}"})
            seen = list(task.iter_events())
            assert list(task.stream()) == list(range(1, 1501))
        assert proxy.cuts >= 5
    with Client(url) as client:
        assert seen == list(client.task(task.id).iter_events())


async def test_the_async_client_streams_and_resumes_too(url: str, tmp_path: Path) -> None:
    chance = random.Random(8)
    with CuttingProxy(url, cut_after=lambda: chance.randrange(200, 20_000)) as proxy:
        async with AsyncClient(proxy.url, retries=50) as client:
            assert [n async for n in client.stream("count", to=400)] == list(range(1, 401))
            task = await client.submit("count_on_request", folder=str(tmp_path), to=2)
            async with aclosing(task.iter_events()) as events:
                seen = []
                async for event in events:
                    seen.append(event)
                    if event.kind == "output":
                        (tmp_path / f"go-{event.data}").touch()
            assert [event.id for event in seen] == list(range(1, len(seen) + 1))
            assert seen[-1].data["status"] == "DONE"


async def test_many_streams_of_one_async_client_run_side_by_side(url: str) -> None:
    async with AsyncClient(url) as client:

        async def counted() -> list[int]:
            return [n async for n in client.stream("count", to=20)]

        assert await asyncio.gather(*(counted() for _ in range(10))) == [list(range(1, 21))] * 10


def test_a_stream_goes_on_at_the_next_server_when_the_first_one_stops(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    port = ("--port", str(free_port()))
    first = Server(JOBS, tmp_path / "data", *port, "--grace-seconds", "0").start()
    second = Server(JOBS, tmp_path / "data", *port)

    def restart() -> None:
        first.terminate()
        second.start()
        gate.touch()

    restarting = threading.Thread(target=restart)
    try:
        with Client(first.url, retries=200) as client:
            seen = []
            for event in client.submit("wait_for", gate=str(gate)).iter_events():
                seen.append(event)
                if len(seen) == 2:
                    restarting.start()
    finally:
        restarting.join(60)
        first.__exit__(None, None, None)
        second.__exit__(None, None, None)
    assert [event.id for event in seen] == list(range(1, len(seen) + 1))
    assert seen[-1].data["status"] == "DONE"


@pytest.mark.long
@pytest.mark.only_on("one", why="each node counts the streams of its own clients")
def test_where_no_stream_is_to_be_had_the_client_polls(tmp_path: Path) -> None:
    with Server(JOBS, tmp_path / "data", "--streams-per-client-max", "1", "--workers", "2") as server:
        with Client(server.url) as client:
            gate = tmp_path / "gate"
            held = client.submit("wait_for", gate=str(gate)).iter_events()
            assert next(held).id == 1  # the one stream that may be open is open
            assert list(client.stream("count", to=3)) == [1, 2, 3]
            events = list(client.submit("count", to=3, pause_seconds=0.2).iter_events())
            gate.touch()
            assert statuses(list(held)) == ["RUNNING", "DONE"]
    assert events[-1] == Event(kind="status", data={"status": "DONE", "reason": None})
    assert {event.id for event in events} == {None}


@pytest.mark.long
@pytest.mark.only_on("one", why="each node counts the streams of its own clients")
def test_what_polling_does_not_tell_comes_at_the_end(tmp_path: Path) -> None:
    with Server(JOBS, tmp_path / "data", "--streams-per-client-max", "1", "--workers", "2") as server:
        with Client(server.url) as client:
            (tmp_path / "go-1").touch()
            held = client.submit("wait_for", gate=str(tmp_path / "gate")).iter_events()
            assert next(held).id == 1
            events = []
            for event in client.submit("count_on_request", folder=str(tmp_path), to=2).iter_events():
                events.append(event)
                if event.kind == "status" and event.data["status"] == "RUNNING":
                    (tmp_path / "gate").touch()
                    assert statuses(list(held))[-1] == "DONE"  # from here on a stream may be opened
                    (tmp_path / "go-2").touch()
    assert [event.data for event in events if event.kind == "output"] == [1, 2]
    assert (events[-1].kind, statuses(events).count("DONE")) == ("status", 1)
