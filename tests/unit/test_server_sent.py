"""The reader of server-sent events: the same events wherever the bytes were cut."""

import random

import pytest

from offload.client.server_sent import EVENT_BYTES_MAX, Reader, Sent

TEXT = (
    b"retry: 1000\n\n"
    b'id: 1\nevent: status\ndata: {"status":"QUEUED"}\n\n'
    b": still here\n\n"
    b'id: 2\r\nevent: log\r\ndata: "gr\xc3\xbc\xc3\x9fe"\r\n\r\n'
    b"id:3\ndata:a\ndata: b\nother: x\n\n"
    b"id: 4\nevent: output\ndata: 1\n"
)
EVENTS = [
    Sent(id="1", kind="status", data=b'{"status":"QUEUED"}'),
    Sent(id="2", kind="log", data='"grüße"'.encode()),
    Sent(id="3", kind="message", data=b"a\nb"),
]


@pytest.mark.parametrize("seed", range(50))
def test_cuts_do_not_matter_and_an_event_without_its_end_is_not_told(seed: int) -> None:
    chance, reader, rest = random.Random(seed), Reader(), TEXT
    told: list[Sent] = []
    while rest:
        size = chance.randrange(1, 1 + chance.choice((2, 20, 200)))
        told += reader.take(rest[:size])
        rest = rest[size:]
    assert told == EVENTS


def test_an_event_beyond_all_bounds_is_refused() -> None:
    for piece in (b"data: " + b"x" * 10**7 + b"\n", b"x" * 10**7):
        reader = Reader()
        with pytest.raises(ValueError, match="larger than"):
            for _ in range(EVENT_BYTES_MAX // 10**7 + 1):
                list(reader.take(piece))
