"""What a node believes of how full its queues are, when the store counts them while tasks come and go."""

import pytest
from msgspec import structs

from offload.core.admission import Capacity
from offload.core.errors import QueueFull
from offload.engine.traffic import DISBELIEVED_MAX, Traffic
from offload.ports import Depth
from tests.unit.engine.kit import HandClock
from tests.unit.engine.test_hunger import task

ONE = [Depth(queue="default", job="noop", queued=1)]
TWO = [Depth(queue="default", job="noop", queued=2)]


def queue_of_two() -> Traffic:
    return Traffic({"default": Capacity(tasks_max=2)}, HandClock())


def is_full(traffic: Traffic, body_bytes: int = 0) -> bool:
    try:
        with traffic.admit("default", tasks=1, body_bytes=body_bytes):
            return False
    except QueueFull:
        return True


@pytest.mark.parametrize("told_first", [False, True])
def test_a_task_that_comes_while_the_store_counts_is_not_counted_twice(told_first: bool) -> None:
    traffic = queue_of_two()
    since = traffic.moves()
    place = traffic.admit("default", tasks=1, body_bytes=0)
    if not told_first:
        traffic.sync(ONE, since=since)  # it is in the store, but nobody has been told
    traffic.came(task("noop"))
    place.settle()
    if told_first:
        traffic.sync([], since=since)  # counted before it was there
    assert traffic.waiting("default") == 1
    assert not is_full(traffic)
    traffic.came(task("noop"))
    assert is_full(traffic)


@pytest.mark.parametrize("told_first", [False, True])
def test_bytes_that_come_while_the_store_counts_are_not_counted_twice(told_first: bool) -> None:
    traffic = Traffic({"default": Capacity(bytes_max=200)}, HandClock())
    since, large = traffic.moves(), structs.replace(task("noop"), input_bytes=100)
    place = traffic.admit("default", tasks=1, body_bytes=100)
    if not told_first:
        traffic.sync([Depth(queue="default", job="noop", queued=1, bytes=100)], since=since)
    traffic.came(large)
    place.settle()
    if told_first:
        traffic.sync([], since=since)
    with traffic.admit("default", tasks=1, body_bytes=100):
        assert is_full(traffic, body_bytes=1)


def test_the_store_is_believed_when_nothing_moved_or_never_stops_moving() -> None:
    traffic = queue_of_two()
    traffic.sync(TWO, since=traffic.moves())
    assert is_full(traffic)
    traffic.left(task("noop"))
    for _ in range(DISBELIEVED_MAX):
        since = traffic.moves()
        traffic.came(task("noop"))
        traffic.left(task("noop"))
        traffic.sync(TWO, since=since)
        assert not is_full(traffic)
    since = traffic.moves()
    traffic.came(task("noop"))
    traffic.left(task("noop"))
    traffic.sync(TWO, since=since)
    assert is_full(traffic)


def test_of_several_nodes_each_believes_the_store() -> None:
    traffic = queue_of_two()
    traffic.came(task("noop"))
    traffic.sync(TWO)
    assert is_full(traffic)
