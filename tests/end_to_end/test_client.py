"""The Python client, blocking and async, against a real server."""

import asyncio
import io
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from offload.client import AsyncClient, Client, NewTask, Options, ResultFile, ServerUnreachable, TaskState, WaitTimeout
from offload.core.errors import (
    JobDoesNotExist,
    OffloadError,
    QueueFull,
    TaskDoesNotExist,
    TaskFailed,
    TaskIsCanceled,
    TaskIsFinal,
    WrongInput,
    WrongJobDefinitionValue,
)
from tests.backends.free_port import free_port
from tests.servers import Server

pytestmark = pytest.mark.story

JOBS = Path(__file__).parent / "client_jobs.py"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Server(JOBS, tmp_path_factory.mktemp("client") / "data", "--workers", "2") as server:
        yield server.url


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client


def test_a_call_returns_what_the_job_returned(client: Client) -> None:
    assert client.call("add", a=2, b=40) == 42
    assert client.call("add", {"a": 1}) == 2
    assert client.call("add", {"a": 1}, b=5) == 6


def test_files_go_up_in_every_form_and_come_back(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "hello.txt"
    path.write_bytes(b"hello")
    with path.open("rb") as stream:
        for given in (path, stream, b"hello", io.BytesIO(b"hello")):
            result = client.call("upper", file=given, times=2)
            assert isinstance(result, ResultFile)
            assert (result.name, result.type, result.size) == ("upper.txt", "text/plain", 10)
            assert result.read_bytes() == b"HELLOHELLO"
    assert result.save(tmp_path) == tmp_path / "upper.txt"
    assert result.save(tmp_path / "other.txt").read_bytes() == b"HELLOHELLO"


def test_lists_of_files_keep_their_order_whatever_else_is_sent(client: Client) -> None:
    files = [b"x" * size for size in (3, 1, 2)]
    as_form = client.call("sizes", files=files, prefix="320")
    assert as_form == {"sizes": [3, 1, 2], "names": ["320file"] * 3, "note": "none given"}
    as_json = client.call("sizes", files=files, prefix="p", note=None)
    assert as_json == {"sizes": [3, 1, 2], "names": ["pfile"] * 3, "note": None}
    assert client.call("sizes", files=[b"xx"], prefix="")["sizes"] == [2]


def test_a_large_file_is_read_when_it_is_asked_for(client: Client, tmp_path: Path) -> None:
    result = client.call("zeros", size=20_000_000)
    assert (result.name, result.size) == ("zeros.bin", 20_000_000)
    assert result.save(tmp_path / "zeros.bin").stat().st_size == 20_000_000
    assert len(result.read_bytes()) == 20_000_000


def test_a_large_json_result_is_still_json(client: Client) -> None:
    assert client.call("numbers", count=1_000_000)[-1] == 999_999


def test_mistakes_in_the_input_are_told_with_their_places(client: Client) -> None:
    with pytest.raises(WrongInput) as caught:
        client.call("add", a="x", c=1)
    assert {tuple(mistake["loc"]) for mistake in caught.value.errors} == {("a",), ("c",)}
    with pytest.raises(JobDoesNotExist, match="this server has add"):
        client.call("ad", a=1)
    with pytest.raises(WrongJobDefinitionValue):
        client.create("ad", a=1)


def test_a_failed_task_raises_with_the_jobs_error(client: Client) -> None:
    with pytest.raises(TaskFailed, match="because") as caught:
        client.call("fail", why="because")
    assert caught.value.reason == "rejected"
    assert caught.value.error["message"] == "because"


def test_a_submitted_task_can_be_followed_waited_for_and_read(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    task = client.submit("steps", gate=str(gate))
    with pytest.raises(WaitTimeout) as caught:
        task.wait(0.2)
    assert caught.value.task_id == task.id
    seen = []
    for event in task.iter_events():
        if event.kind in ("status", "progress"):
            seen.append((event.kind, event.data.get("status") or event.data.get("fraction")))
        if event.kind == "progress":
            gate.touch()
    assert seen[-1] == ("status", "DONE") and ("progress", 0.5) in seen
    assert task.status().final
    assert task.result() == "through"
    assert "waiting at the gate" in task.logs()
    whole = task.get()
    assert (whole.job, whole.queue, whole.result) == ("steps", "slow", "through")
    assert whole.finished_at is not None and whole.finished_at.tzinfo is not None


def test_a_listener_hears_of_progress_while_a_call_waits(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    heard: list[TaskState] = []

    def listen(state: TaskState) -> None:
        heard.append(state)
        if state.progress is not None:
            gate.touch()

    assert client.call("steps", gate=str(gate), progress=listen) == "through"
    assert any(state.progress is not None and state.progress.fraction == 0.5 for state in heard)


def test_a_progress_bar_is_harmless_without_a_terminal(client: Client, capfd: pytest.CaptureFixture[str]) -> None:
    assert client.call("add", a=1, progress=True) == 2
    assert "\x1b" not in capfd.readouterr().out


def test_a_call_that_takes_too_long_raises_and_the_task_goes_on(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with pytest.raises(WaitTimeout) as caught:
        client.call("steps", gate=str(gate), wait_seconds=0.3)
    gate.touch()
    assert client.task(caught.value.task_id).result(60) == "through"


def test_a_running_task_can_be_canceled_revived_and_deleted(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    task = client.submit("steps", gate=str(gate))
    next(event for event in task.iter_events() if event.kind == "progress")
    task.cancel()
    assert task.wait(60).status == "CANCELED"
    with pytest.raises(TaskIsCanceled):
        task.result()
    gate.touch()
    task.retry()
    assert task.result(60) == "through"
    with pytest.raises(TaskIsFinal):
        task.cancel()
    task.delete()
    task.delete()
    assert task.status().status == "DELETED"


def test_a_created_task_waits_until_it_is_run(client: Client) -> None:
    task = client.create("upper", file=b"x", options=Options(tags={"of": "created, here"}))
    assert task.status().status == "CREATED"
    assert task.get().tags == {"of": "created, here"}
    task.run()
    assert task.result().read_bytes() == b"X"


def test_the_same_key_makes_the_same_task(client: Client) -> None:
    options = Options(idempotency_key=str(uuid4()))
    first, again = client.submit("add", a=1, options=options), client.submit("add", a=1, options=options)
    assert first.id == again.id
    assert client.submit("add", a=1).id != first.id


def test_options_reach_the_task(client: Client) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    options = Options(priority=7, run_at=later, deadline_seconds=7200, tags={"who": "a", "why": "b c"})
    task = client.submit("add", a=1, options=options)
    found = task.get()
    assert (found.priority, found.status, found.tags) == (7, "QUEUED", {"who": "a", "why": "b c"})
    assert found.run_at is not None and abs(found.run_at - later) < timedelta(seconds=1)
    assert found.deadline_at is not None
    task.cancel()


def test_a_batch_is_all_or_none(client: Client) -> None:
    tag = str(uuid4())
    tasks = client.batch(
        [NewTask(job="add", input={"a": number}, options=Options(tags={"batch": tag})) for number in range(120)]
    )
    assert [task.result(60) for task in tasks[:3]] == [1, 2, 3]
    assert {task.id for task in client.find(tags={"batch": tag})} == {task.id for task in tasks}
    with pytest.raises(OffloadError) as caught:
        client.batch([NewTask(job="add", input={"a": 1}), NewTask(job="add", input={"a": "x"})])
    assert getattr(caught.value, "index", None) == 1


def test_find_goes_through_all_pages_newest_first(client: Client) -> None:
    tag = str(uuid4())
    made = [client.submit("add", a=number, options=Options(tags={"page": tag})).id for number in range(105)]
    assert [task.id for task in client.find(job="add", tags={"page": tag})] == made[::-1]


def test_a_stored_file_serves_many_tasks_and_results_can_be_downloaded(client: Client, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"abc")
    stored = client.upload_file(tmp_path / "a.txt")
    assert (stored.size, stored.type) == (3, "text/plain")
    tasks = [client.submit("upper", file=f"file:{stored.id}", times=times) for times in (1, 2)]
    for task, text in zip(tasks, (b"ABC", b"ABCABC"), strict=True):
        task.wait(60)
        assert client.download(task.id, tmp_path / "out.txt").read_bytes() == text
    sums = client.submit("add", a=1)
    sums.wait(60)
    assert client.download(sums.id, tmp_path / "sum.json").read_bytes() == b"2"


def test_queues_and_jobs_are_told_and_queues_can_be_paused(client: Client, tmp_path: Path) -> None:
    assert {job.name for job in client.jobs()} >= {"add", "upper", "steps"}
    assert client.pause("slow").state == "paused"
    (tmp_path / "gate").touch()
    task = client.submit("steps", gate=str(tmp_path / "gate"))
    with pytest.raises(WaitTimeout):
        task.wait(0.5)
    assert {queue.name: queue.state for queue in client.queues()}["slow"] == "paused"
    assert client.resume("slow").state == "accepting"
    assert task.result(60) == "through"


def test_one_client_serves_many_threads(client: Client) -> None:
    results: dict[int, int] = {}

    def work(number: int) -> None:
        results[number] = client.call("add", a=number, b=number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {number: 2 * number for number in range(12)}


async def test_the_async_client_does_the_same(url: str, tmp_path: Path) -> None:
    async with AsyncClient(url) as client:
        results = await asyncio.gather(*(client.call("add", a=number) for number in range(10)))
        assert results == list(range(1, 11))
        (tmp_path / "a.txt").write_bytes(b"abc")
        result = await client.call("upper", file=tmp_path / "a.txt")
        assert await result.read_bytes() == b"ABC"
        assert (await result.save(tmp_path / "b.txt")).read_bytes() == b"ABC"
        big = await client.call("zeros", size=3_000_000)
        assert len(await big.read_bytes()) == 3_000_000
        task = await client.submit("steps", gate=str(tmp_path / "gate"))
        heard = []

        async def listen(state: TaskState) -> None:
            heard.append(state)

        async for event in task.iter_events():
            if event.kind == "progress":
                (tmp_path / "gate").touch()
        assert await task.result(progress=listen) == "through"
        assert heard[-1].final
        assert "gate" in await task.logs()
        found = [each.id async for each in client.find(job="steps")]
        assert task.id in found
        with pytest.raises(TaskFailed):
            await client.call("fail", why="x")
        with pytest.raises(TaskDoesNotExist):
            await client.get(str(uuid4()))
        made = await client.batch([NewTask(job="add", input={"a": 1})])
        assert await made[0].result() == 2
        created = await client.create("add", a=5)
        await created.run()
        assert await created.result() == 6
        stored = await client.upload_file(b"xyz", name="x.txt")
        again = await client.submit("upper", file=f"file:{stored.id}")
        await again.wait(60)
        assert (await client.download(again.id, tmp_path / "c.txt")).read_bytes() == b"XYZ"
        await again.delete()
        assert {queue.name for queue in await client.queues()} == {"default", "slow"}
        assert [job.name for job in await client.jobs()][0] == "add"


def test_a_full_queue_is_told_when_retrying_does_not_help(tmp_path: Path) -> None:
    with Server(JOBS, tmp_path / "data", "--queue-tasks-max", "2", "--workers", "1") as server:
        with Client(server.url, timeout_seconds=3.0) as client:  # one, for another may be answered by another node
            held = [client.submit("steps", gate=str(tmp_path / "gate")) for _ in range(2)]
            with pytest.raises(QueueFull, match="holds 2 of at most 2 tasks") as caught:
                client.submit("steps", gate="x")
            assert caught.value.limit == 2
            for task in held:
                task.cancel()


def test_a_server_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with Client(url, timeout_seconds=0.3) as impatient, pytest.raises(ServerUnreachable, match="is `offload serve`"):
        impatient.jobs()
    later = Server(JOBS, tmp_path / "data", "--workers", "1", "--port", str(port))
    starting = threading.Thread(target=later.start)
    with Client(url, timeout_seconds=60, retries=50) as client:
        starting.start()
        try:
            assert client.call("add", a=1) == 2
        finally:
            starting.join(60)
            later.__exit__(None, None, None)
