"""Following a task by its stream, against a scripted server: what is resumed, what is refused, and when it ends."""

from typing import Any

import pytest

from offload.client import following
from offload.client.effects import Answer, Flow, Give, Send, Unreachable
from offload.client.errors import ServerUnreachable
from offload.core.errors import TaskDoesNotExist
from tests.unit.test_client_core import ID, World, answer, opened, problem, state

Told = list[tuple[int | None, str, Any]]


def stream(*pieces: bytes | Unreachable) -> Answer:
    return opened(200, *pieces, content_type="text/event-stream; charset=utf-8")


def said(number: int, status: str) -> bytes:
    return b'id: %d\nevent: status\ndata: {"status":"%s"}\n\n' % (number, status.encode())


def yielded(number: int, value: int) -> bytes:
    return b"id: %d\nevent: output\ndata: %d\n\n" % (number, value)


def gathered(world: World, flow: Flow[None]) -> list[Any]:
    """Run a flow to its end and return what it gave."""
    given: list[Any] = []

    def others() -> Flow[None]:
        answered: Any = None
        failed: Exception | None = None
        while True:
            try:
                effect = flow.send(answered) if failed is None else flow.throw(failed)
            except StopIteration:
                return
            answered, failed = None, None
            if isinstance(effect, Give):
                given.append(effect.value)
                continue
            try:
                answered = yield effect
            except Exception as error:
                failed = error

    world.run(others())
    return given


def followed(world: World, after: int = 0) -> Told:
    events = gathered(world, following.follow(world.rules(), ID, after))
    return [(event.id, event.kind, event.data["status"] if event.kind == "status" else event.data) for event in events]


def test_a_cut_stream_is_resumed_after_the_last_whole_event() -> None:
    broken = stream(said(1, "QUEUED") + yielded(2, 7)[:-1], Unreachable("broke off"))
    world = World([broken, Unreachable("refused"), problem(503, "Stopping", 2), stream(yielded(2, 7), said(3, "DONE"))])
    assert followed(world) == [(1, "status", "QUEUED"), (2, "output", 7), (3, "status", "DONE")]
    assert world.header("Last-Event-ID") == [None, "1", "1", "1"]
    assert world.slept == [0.1, 0.2, 2.4]


def test_an_event_that_comes_again_is_told_once() -> None:
    world = World([stream(said(1, "QUEUED"), said(1, "QUEUED"), said(2, "DONE"))])
    assert followed(world) == [(1, "status", "QUEUED"), (2, "status", "DONE")]


def test_a_final_status_is_the_end_only_when_the_server_ends_the_stream_there() -> None:
    world = World([
        stream(said(1, "FAILED"), Unreachable("broke off")),
        stream(said(2, "QUEUED"), said(3, "DONE")),
    ])  # fmt: skip
    assert [number for number, _, _ in followed(world)] == [1, 2, 3]


def test_a_server_that_has_gone_after_the_final_status_is_no_error() -> None:
    world = World([stream(said(1, "DONE"), Unreachable("broke off")), *[Unreachable("refused")] * 9])
    assert followed(world) == [(1, "status", "DONE")]


def test_a_server_that_stays_away_is_told() -> None:
    with pytest.raises(ServerUnreachable, match="refused"):
        followed(World([stream(said(1, "QUEUED")), *[Unreachable("refused")] * 9]))


def test_a_stream_with_nothing_to_tell_of_a_task_that_has_ended_is_the_end() -> None:
    assert followed(World([stream(), state("DELETED"), stream()])) == [(None, "status", "DELETED")]
    assert followed(World([stream(), state("DONE"), stream()]), after=9) == []


def test_what_was_told_after_a_stream_ended_and_before_the_task_was_looked_at_is_not_missed() -> None:
    rest = stream(yielded(2, 7), said(3, "DONE"))
    world = World([stream(said(1, "QUEUED")), stream(), state("DONE"), rest])
    assert followed(world) == [(1, "status", "QUEUED"), (2, "output", 7), (3, "status", "DONE")]


def test_a_task_that_is_not_there_is_an_error() -> None:
    with pytest.raises(TaskDoesNotExist):
        followed(World([problem(404, "TaskDoesNotExist"), problem(404, "TaskDoesNotExist")]))


@pytest.mark.parametrize(
    "refusal",
    [
        problem(429, "QuotaExceeded", 5),
        problem(503, "TooManyStreams", 5),
        answer(404),
        answer(406),
        answer(200, "html"),
    ],
)
def test_where_a_stream_is_refused_states_are_polled_and_the_rest_is_told_at_the_end(refusal: Answer) -> None:
    late = stream(said(1, "QUEUED") + yielded(2, 7) + said(3, "DONE"))
    world = World([refusal, state("QUEUED"), state("RUNNING"), state("DONE"), late])
    assert followed(world) == [
        (None, "status", "QUEUED"), (None, "status", "RUNNING"), (2, "output", 7), (None, "status", "DONE"),
    ]  # fmt: skip


def test_states_that_a_stream_told_are_not_told_again_by_polling() -> None:
    world = World([
        stream(said(1, "QUEUED"), said(2, "RUNNING"), Unreachable("broke off")),
        problem(429, "QuotaExceeded", 5), state("RUNNING"), state("DONE"), problem(429, "QuotaExceeded", 5),
    ])  # fmt: skip
    assert followed(world) == [(1, "status", "QUEUED"), (2, "status", "RUNNING"), (None, "status", "DONE")]


def test_a_stream_that_is_held_back_on_the_way_is_given_up_for_polling() -> None:
    def silence(send: Send) -> Answer:
        world.now += send.idle_seconds
        raise Unreachable("no answer in time")

    world = World([silence, state("DONE"), problem(429, "QuotaExceeded")])
    assert followed(world) == [(None, "status", "DONE")]


def test_outputs_come_from_the_result_when_no_stream_is_to_be_had() -> None:
    refused = problem(429, "QuotaExceeded")
    whole = opened(200, b"[1, 2, 3]", content_type="application/json")
    world = World([refused, state("DONE"), refused, whole])
    assert gathered(world, following.outputs(world.rules(), ID)) == [1, 2, 3]
    world = World([
        stream(said(1, "RUNNING"), yielded(2, 1), said(3, "QUEUED")),
        stream(said(4, "RUNNING"), yielded(5, 1), said(6, "DONE")),
        opened(200, b"[1]", content_type="application/json"),
    ])  # fmt: skip
    assert gathered(world, following.outputs(world.rules(), ID)) == [1, 1]
