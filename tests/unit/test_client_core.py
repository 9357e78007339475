"""The client's core against a scripted server: when it asks again, what it sends, and what it makes of the answers."""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest

from offload.client import calls, downloads, waiting, watching
from offload.client.calls import Order
from offload.client.effects import Answer, Drain, Effect, Flow, Read, Send, Sleep, Tell, Unreachable, Work
from offload.client.errors import RemoteError, ServerUnreachable, WaitTimeout, error_from
from offload.client.inputs import attachments, form_body, form_fits, json_body
from offload.client.options import Options, as_header
from offload.client.replies import TaskState
from offload.client.retries import Rules, backoff_seconds
from offload.client.waiting import FoundFile, FoundJson, safe_file_name
from offload.core.errors import QueueFull, TaskFailed, TaskIsFinal, WrongInput
from offload.core.plain import plain_line, plain_text

T = TypeVar("T")
ID = "8c0f4c7e-3b1d-4f6a-9e2b-5d7a1c9e0f34"
Reaction = Answer | Unreachable | Callable[[Send], Answer]


@dataclass
class World:
    """A server that answers what was scripted, and a clock that only moves when somebody waits."""

    script: list[Reaction]
    now: float = 1000.0
    sent: list[Send] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    def rules(self, **changes: Any) -> Rules:
        rules = Rules(
            url="http://test",
            clock=lambda: self.now,
            chance=lambda: 0.5,
            new_key=iter(f"key-{n}" for n in range(99)).__next__,
        )
        return replace(rules, **changes)

    def run(self, flow: Flow[T]) -> T:
        given: Any = None
        failed: Exception | None = None
        while True:
            try:
                effect = flow.send(given) if failed is None else flow.throw(failed)
            except StopIteration as end:
                value: T = end.value
                return value
            given, failed = None, None
            try:
                given = self.do(effect)
            except Exception as error:
                failed = error

    def do(self, effect: Effect) -> Any:
        match effect:
            case Send():
                return self.send(effect)
            case Read(stream):
                piece = next(stream, b"")
                if isinstance(piece, Unreachable):
                    raise piece
                return piece
            case Drain(stream):
                return b"".join(stream)
            case Sleep(seconds):
                self.slept.append(seconds)
                self.now += seconds
            case Tell(listener, value):
                listener(value)
            case Work(do):
                return do()

    def send(self, send: Send) -> Answer:
        self.sent.append(send)
        body = send.request.body
        self.bodies.append(b"" if body is None else body.content if body.stream is None else b"".join(body.stream()))
        reaction = self.script.pop(0)
        if isinstance(reaction, Unreachable):
            raise reaction
        if callable(reaction):
            return reaction(send)
        return reaction

    def header(self, name: str) -> list[str | None]:
        return [send.request.headers.get(name) for send in self.sent]


def answer(status: int, body: object = None, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, headers=named, body=b"" if body is None else json.dumps(body).encode())


def problem(status: int, code: str, retry_after: int | None = None, **fields: Any) -> Answer:
    headers = {} if retry_after is None else {"retry_after": str(retry_after)}
    return answer(status, {"code": code, "detail": f"it is {code}", "status": status, **fields}, **headers)


def state(status: str, **more: Any) -> Answer:
    return answer(200, {"id": ID, "status": status, **more}, retry_after="3")


def accepted() -> Answer:
    return answer(202, {"id": ID}, location=f"/v1/tasks/{ID}")


def order(options: Options | None = None, /, **given: Any) -> Order:
    return Order(job="resize", input=given, options=options or {})


def opened(status: int, *pieces: bytes | Unreachable, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    stream: Iterator[bytes | Unreachable] = iter(pieces)
    return Answer(status=status, headers=named, stream=stream)


def test_backoff_grows_with_full_jitter_up_to_a_limit_and_on_top_of_what_the_server_asked_for() -> None:
    rules = World([]).rules(first_seconds=1.0, most_seconds=8.0)
    assert [backoff_seconds(rules, n, None) for n in (1, 2, 3, 4, 5, 1000)] == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    assert backoff_seconds(rules, 1, 7) == 7.5
    assert backoff_seconds(replace(rules, chance=lambda: 0.0), 9, None) == 0.0


def test_what_could_not_be_taken_is_sent_again_under_the_same_key_and_never_sooner_than_asked() -> None:
    world = World(
        [problem(503, "QueueFull", 7), Unreachable("broke off"), problem(429, "QuotaExceeded", 2), accepted()]
    )
    assert calls.created_id(world.run(calls.submit(world.rules(), order(width=3)))) == ID
    assert world.header("Idempotency-Key") == ["key-0"] * 4
    assert world.bodies == [b'{"width":3}'] * 4
    assert world.slept[0] >= 7 and world.slept[2] >= 2


@pytest.mark.parametrize("status", [429, 502, 503, 504, 507])
def test_these_answers_are_asked_again(status: int) -> None:
    world = World([answer(status), state("DONE")])
    world.run(waiting.state(world.rules(), ID))
    assert len(world.sent) == 2


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422, 500, 501])
def test_other_errors_are_told_at_once(status: int) -> None:
    world = World([problem(status, "SomethingElse")])
    with pytest.raises(RemoteError, match=f"{status} SomethingElse: it is SomethingElse") as caught:
        world.run(waiting.state(world.rules(), ID))
    assert (caught.value.status, caught.value.remote_code) == (status, "SomethingElse")
    assert world.slept == []


def test_after_the_last_retry_the_servers_own_error_is_raised() -> None:
    world = World([problem(503, "QueueFull", 1, limit=5) for _ in range(3)])
    with pytest.raises(QueueFull, match="it is QueueFull") as caught:
        world.run(calls.submit(world.rules(retries=2), order()))
    assert (caught.value.retry_seconds, caught.value.limit) == (1, 5)


def test_a_pause_that_would_pass_the_time_limit_is_not_begun() -> None:
    world = World([problem(503, "QueueFull", 60)])
    with pytest.raises(QueueFull):
        world.run(calls.submit(world.rules(timeout_seconds=30.0), order()))
    assert world.slept == []


def test_the_time_limit_is_one_for_all_tries() -> None:
    world = World([Unreachable("no")] * 99)
    with pytest.raises(ServerUnreachable, match="http://test: no"):
        world.run(waiting.state(world.rules(timeout_seconds=30.0, retries=98), ID))
    assert sum(world.slept) <= 30.0
    assert {send.deadline for send in world.sent} == {1030.0}


def test_a_stream_that_cannot_be_read_again_is_sent_once() -> None:
    class Pipe(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            return b""

    world = World([Unreachable("broke off")])
    with pytest.raises(ServerUnreachable):
        world.run(calls.submit(world.rules(), order(image=Pipe())))
    assert len(world.sent) == 1


def test_files_are_sent_as_a_form_and_from_their_beginning_each_time(tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").write_bytes(b"CAT")
    stream = io.BytesIO(b"skipped-DOG")
    stream.seek(8)
    world = World([Unreachable("broke off"), accepted()])
    given = order(image=tmp_path / "cat.jpg", more=[stream, b"RAW"], width=320, name="x", sizes=[1, 2])
    world.run(calls.submit(world.rules(), given))
    assert world.bodies[0] == world.bodies[1]
    body = world.sent[0].request.body
    assert body is not None and body.size == len(world.bodies[0])
    text = world.bodies[0].decode().replace("\r\n", "\n")
    for part in (
        'name="width"\n\n320\n', 'name="name"\n\nx\n', 'name="sizes"\n\n[1,2]\n', 'name="more"; filename="file"',
        'name="image"; filename="cat.jpg"\nContent-Type: image/jpeg\n\nCAT\n', "\n\nDOG\n", "\n\nRAW\n",
    ):  # fmt: skip
        assert part in text
    assert "skipped" not in text


def test_a_name_cannot_break_out_of_its_quotes() -> None:
    given = {"file": io.BytesIO(b"x")}
    given["file"].name = 'a"\r\nX-Evil: 1\r\n.txt'
    body = form_body("j", given, list(attachments(given)))
    assert body.stream is not None
    whole = b"".join(body.stream())
    assert b'filename="a%22%0D%0AX-Evil: 1%0D%0A.txt"' in whole


def test_what_a_form_cannot_say_is_uploaded_first_and_named_in_json() -> None:
    stored = answer(201, {"id": "f1", "size": 1})
    for given in ({"deep": {"image": b"x"}}, {"image": b"x", "nothing": None}, {"mixed": [b"x", "file:old"]}):
        assert not form_fits(given, list(attachments(given)))
        world = World([stored, accepted()])
        world.run(calls.submit(world.rules(), order(**given)))
        assert [send.request.path for send in world.sent] == ["/v1/files", "/v1/jobs/resize"]
        assert b'"file:f1"' in world.bodies[1]


def test_numbers_that_json_has_not_are_refused_with_their_place() -> None:
    with pytest.raises(WrongInput) as caught:
        json_body("j", {"a": [1.0, float("nan")]})
    assert caught.value.errors == [{"loc": ["a", 1], "message": "nan cannot be said in JSON"}]
    with pytest.raises(WrongInput, match="is no JSON value and no file"):
        json_body("j", {"a": object()})


def test_a_file_that_is_open_for_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    with (tmp_path / "a.txt").open() as text, pytest.raises(TypeError, match="open it with mode 'rb'"):
        list(attachments({"file": text}))
    with pytest.raises(IsADirectoryError):
        list(attachments({"file": tmp_path}))


def test_options_travel_as_header_fields() -> None:
    options = Options(
        priority=5, delay_seconds=1.5, run_at=datetime(2026, 1, 2, tzinfo=UTC), deadline_seconds=60,
        tags={"a": "1", "b": "x y"},
    )  # fmt: skip
    assert as_header(options) == {
        "Offload-Priority": "5", "Offload-Delay": "1.5", "Offload-Run-At": "2026-01-02T00:00:00+00:00",
        "Offload-Deadline": "60", "Offload-Tags": "a=1, b=x y",
    }  # fmt: skip
    with pytest.raises(ValueError, match="has no zone"):
        as_header(Options(run_at=datetime(2026, 1, 2)))


def test_tags_that_a_header_cannot_say_go_into_a_body() -> None:
    world = World([answer(201, {}, location=f"/v1/tasks/{ID}")])
    world.run(calls.submit(world.rules(), order({"tags": {"who": "a, b"}, "priority": 1}, width=3)))
    assert world.sent[0].request.path == "/v1/tasks"
    assert json.loads(world.bodies[0]) == {
        "job": "resize", "input": {"width": 3}, "run": True, "priority": 1, "tags": {"who": "a, b"},
    }  # fmt: skip


def test_a_call_whose_result_came_in_time_is_one_exchange() -> None:
    done = opened(200, b'{"x":', b"1}", content_type="application/json", location=f"/v1/tasks/{ID}")
    world = World([done])
    assert world.run(waiting.call(world.rules(), order(), None, None)) == FoundJson(value={"x": 1})
    assert world.header("Prefer") == ["wait=20"]


def test_a_longer_call_waits_in_slices_and_then_reads_the_result() -> None:
    def held(send: Send) -> Answer:
        world.now += send.request.hold_seconds
        return state("RUNNING")

    result = opened(200, b"7", content_type="application/json")
    world = World([accepted(), held, held, state("DONE"), result])
    assert world.run(waiting.call(world.rules(), order(), None, None)) == FoundJson(value=7)
    assert world.slept == []


def test_a_server_that_does_not_hold_its_answers_is_polled_as_often_as_it_says() -> None:
    world = World([state("QUEUED"), state("RUNNING"), state("DONE")])
    assert world.run(waiting.wait(world.rules(), ID, None)).status == "DONE"
    assert world.slept == [3.0, 3.0]


def test_a_wait_ends_when_its_time_has_passed() -> None:
    world = World([state("RUNNING")] * 9)
    with pytest.raises(WaitTimeout) as caught:
        world.run(waiting.wait(world.rules(), ID, 7.0))
    assert (caught.value.task_id, caught.value.status) == (ID, "RUNNING")
    assert world.now <= 1007.0


def test_a_listener_hears_each_change_once() -> None:
    heard: list[TaskState] = []
    half = {"progress": {"fraction": 0.5, "message": "half"}}
    world = World([state("QUEUED"), state("QUEUED"), state("RUNNING", **half), state("DONE")])
    world.run(waiting.wait(world.rules(), ID, None, heard.append))
    assert [(each.status, each.progress and each.progress.fraction) for each in heard] == [
        ("QUEUED", None), ("RUNNING", 0.5), ("DONE", None),
    ]  # fmt: skip


def test_events_tell_changes_of_status_and_progress_and_then_end() -> None:
    half = {"progress": {"fraction": 0.5, "message": ""}}
    world = World([state("QUEUED"), state("RUNNING", **half), state("FAILED", reason="error", **half)])
    watch = watching.Watch(world.rules(), ID)
    events = []
    while (event := world.run(watch.next())) is not None:
        events.append((event.kind, event.data.get("status") or event.data.get("fraction")))
    assert events == [("status", "QUEUED"), ("status", "RUNNING"), ("progress", 0.5), ("status", "FAILED")]
    assert world.header("Prefer") == [None, "wait=3", "wait=3"]


def test_a_cancel_whose_first_answer_was_lost_is_no_error() -> None:
    canceled = answer(200, {"id": ID, "job": "j", "queue": "q", "status": "CANCELED"})
    world = World([Unreachable("broke off"), problem(409, "TaskIsFinal"), canceled])
    assert world.run(calls.cancel(world.rules(), ID)).status == "CANCELED"
    world = World([Unreachable("refused", nothing_sent=True), problem(409, "TaskIsFinal")])
    with pytest.raises(TaskIsFinal):
        world.run(calls.cancel(world.rules(), ID))


def test_a_failed_task_raises_with_the_jobs_own_error() -> None:
    error = {"type": "ValueError", "message": "because", "traceback": "…"}
    found = error_from(409, {}, problem(409, "TaskFailed", reason="error", error=error).body)
    assert isinstance(found, TaskFailed)
    assert (found.reason, found.error) == ("error", error)


def test_answers_that_are_no_problems_are_still_told() -> None:
    assert "502: <html>Bad gateway" in str(error_from(502, {}, b"<html>Bad gateway"))
    assert "500" in str(error_from(500, {}, b'["not", "a", "problem"]'))
    with pytest.raises(RemoteError, match="is not understood"):
        World([]).run(_read(Answer(status=200, headers={}, body=b"{")))


def _read(given: Answer) -> Flow[TaskState]:
    yield from ()
    return calls.read(given, TaskState)


def test_a_download_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    file = FoundFile(task_id=ID, name="big.bin", type="x/y", size=6, data=None)
    world = World([opened(200, b"abc", Unreachable("broke off"), etag='"1"'), opened(206, b"def", etag='"1"')])
    assert world.run(downloads.save(world.rules(), file, tmp_path)) == tmp_path / "big.bin"
    assert (tmp_path / "big.bin").read_bytes() == b"abcdef"
    assert (world.header("Range"), world.header("If-Range")) == ([None, "bytes=3-"], [None, '"1"'])


def test_a_download_of_what_has_changed_begins_again(tmp_path: Path) -> None:
    file = FoundFile(task_id=ID, name="big.bin", type="x/y", size=6, data=None)
    world = World([opened(200, b"abc", Unreachable("broke off"), etag='"1"'), opened(200, b"other!", etag='"2"')])
    world.run(downloads.save(world.rules(), file, tmp_path / "here.bin"))
    assert (tmp_path / "here.bin").read_bytes() == b"other!"


def test_a_download_that_fails_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "old.bin").write_bytes(b"old")
    file = FoundFile(task_id=ID, name="big.bin", type="x/y", size=6, data=None)
    world = World([opened(200, Unreachable("broke off")) for _ in range(9)])
    with pytest.raises(ServerUnreachable):
        world.run(downloads.save(world.rules(retries=1), file, tmp_path / "old.bin"))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"old.bin": b"old"}


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("cat.jpg", "cat.jpg"), ("../../etc/passwd", "passwd"), ("..\\..\\evil.exe", "evil.exe"), (".bashrc", "bashrc"),
        ("", "result"), ("/", "result"), ("..", "result"), ("a\nb\x1b[2J.txt", "ab[2J.txt"),
        ("x\u202egpj.exe", "xgpj.exe"),
    ],
)  # fmt: skip
def test_a_name_that_a_server_tells_is_only_a_name(told: str, name: str) -> None:
    assert safe_file_name(told, "result") == name


def test_text_of_a_server_cannot_steer_a_terminal() -> None:
    assert plain_text("a\x1b[31mred\x1b[0m\x1b]0;title\x07b\x9b2Jc\td\n\re\u202e") == "aredb2Jc\td\ne"
    assert plain_line("one\n two\x1b[2K", length_max=7) == "one two"
    assert len(plain_line("x" * 900)) == 500
