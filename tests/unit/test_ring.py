"""What nodes tell each other arrives whole, in messages that are never too large."""

import string

import msgspec
from hypothesis import given
from hypothesis import strategies as some

from offload.core.ring import QUEUES, Ring, merged, packed, unpacked

NAMES = some.text(min_size=1, max_size=30)
RINGS = some.builds(
    Ring,
    ready=some.frozensets(some.tuples(NAMES, NAMES), max_size=20),
    due_at=some.none() | some.floats(min_value=1e9, max_value=2e9),
    changed=some.frozensets(some.text(string.hexdigits + "-", min_size=36, max_size=36), max_size=40),
    stopped=some.frozensets(some.text(string.hexdigits + "-", min_size=36, max_size=36), max_size=5),
    topics=some.frozensets(NAMES, max_size=4),
)


@given(ring=RINGS, bytes_max=some.integers(min_value=600, max_value=8000))
def test_a_ring_arrives_whole_in_messages_of_a_bounded_size(ring: Ring, bytes_max: int) -> None:
    messages = packed(ring, origin="node-1", bytes_max=bytes_max)
    assert all(len(message.encode()) <= bytes_max for message in messages)
    heard = [unpacked(message) for message in messages]
    assert all(one is not None and one[0] == "node-1" for one in heard)
    assert merged(one[1] for one in heard if one is not None) == ring


def test_two_hundred_tasks_go_into_one_message_of_postgresql() -> None:
    ids = frozenset(f"{n:036}" for n in range(200))
    assert len(packed(Ring(changed=ids), origin="host:1234:abcdef01", bytes_max=7999)) == 1


def test_nothing_to_tell_is_no_message() -> None:
    assert packed(Ring(), origin="node-1", bytes_max=8000) == []
    assert not Ring()
    assert Ring(missed=True)


def test_what_does_not_fit_into_any_message_is_left_out_and_the_rest_told() -> None:
    ring = Ring(ready=frozenset([("q" * 9000, "job")]), topics=frozenset([QUEUES]))
    (message,) = packed(ring, origin="node-1", bytes_max=8000)
    assert unpacked(message) == ("node-1", Ring(topics=frozenset([QUEUES])))


def test_what_a_newer_node_says_besides_is_skipped_and_what_is_no_message_is_none() -> None:
    message = msgspec.json.encode({"o": "node-2", "s": ["a"], "hm": [1]})
    assert unpacked(message) == ("node-2", Ring(stopped=frozenset(["a"])))
    assert unpacked("hello") is None
    assert unpacked(b"\xff") is None
    assert unpacked('{"o": 1}') is None
