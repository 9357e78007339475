"""What goes on, looked up once a second for all who watch and may see the same, however many they are."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from offload.core.errors import OffloadError
from offload.core.history import STEP_SECONDS
from offload.core.task import Seconds
from offload.engine.engine import Engine
from offload.http.present import encode

log = logging.getLogger("offload.http")

LOOK_SECONDS: Seconds = 1.0

Ask = Callable[[], Awaitable[dict[str, Any]]]


@dataclass(slots=True)
class Told:
    """What one who watches has heard."""

    turn: int = 0
    bodies: dict[str, bytes] = field(default_factory=dict)


class Feed:
    """Looks while it is watched."""

    def __init__(self, engine: Engine, *, now: Ask, history: Ask) -> None:
        self.watchers = 0
        self.is_over = False
        self._engine = engine
        self._asks = {"overview": (now, 0.0), "history": (history, STEP_SECONDS)}
        self._bodies: dict[str, bytes] = {}
        self._turn = 0
        self._turned = asyncio.Event()
        self._loop = asyncio.get_running_loop().create_task(self._run())

    async def next(self, told: Told) -> bool:
        """Return at the next look, at once to who has heard of none; False when there will be no more."""
        if told.turn == self._turn and not self.is_over:
            await self._turned.wait()
        told.turn = self._turn
        return not self.is_over

    def news(self, told: Told) -> bytes:
        """Return what has changed since it was told last, as events."""
        found = [(name, body) for name, body in self._bodies.items() if told.bodies.get(name) != body]
        told.bodies.update(found)
        return b"".join(event_lines(name, body) for name, body in found)

    def stop(self) -> None:
        self._loop.cancel()

    async def _run(self) -> None:
        stopping, monotonic = self._engine.stopping, self._engine.clock.monotonic
        due = dict.fromkeys(self._asks, monotonic())
        try:
            while not stopping.is_set():
                for name, (ask, seconds) in self._asks.items():
                    if due[name] <= monotonic():
                        due[name] = monotonic() + seconds
                        self._bodies[name] = encode(await ask())
                self._turn_round()
                try:
                    async with asyncio.timeout(LOOK_SECONDS):
                        await stopping.wait()
                except TimeoutError:
                    continue
        except OffloadError as error:
            log.warning("the overview cannot be told, whoever watches may come back: %s", error)
        except Exception:
            log.exception("the overview cannot be told")
        finally:
            self.is_over = True
            self._turn_round()

    def _turn_round(self) -> None:
        """Wake all who wait for a look."""
        self._turn += 1
        turned, self._turned = self._turned, asyncio.Event()
        turned.set()


class Feeds:
    """The feeds that are watched, one for each sight: who may see what."""

    def __init__(self) -> None:
        self._found: dict[Hashable, Feed] = {}

    @contextmanager
    def watched(self, sight: Hashable, make: Callable[[], Feed]) -> Iterator[Feed]:
        """Watch what is watched already, or begin."""
        feed = self._found.get(sight)
        if feed is None or feed.is_over:
            feed = self._found[sight] = make()
        feed.watchers += 1
        try:
            yield feed
        finally:
            feed.watchers -= 1
            if not feed.watchers:
                feed.stop()
                if self._found.get(sight) is feed:
                    del self._found[sight]


def event_lines(name: str, body: bytes) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), body)
