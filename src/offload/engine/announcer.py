"""Tells other nodes through the broker that tasks are ready: after the commit, and never in the way."""

import asyncio
import logging
from collections import deque
from itertools import islice

from offload.core.task import Seconds, Task
from offload.engine.loops import Pauses, end, last_word, only_our_cancels
from offload.engine.stats import Stats
from offload.ports.broker import Broker, BrokerUnavailable, Token

log = logging.getLogger("offload.announcer")

BATCH = 100
WAITING_MAX = 10_000
"""Tokens that wait to be sent; beyond that the slow look at the store will do."""
STALE_SECONDS: Seconds = 5.0
"""Once the broker has been away for so long, tokens are dropped: workers look at the store by themselves then."""
CHECK_SECONDS: Seconds = 5.0
"""How often the broker is asked whether it is there when there is nothing to send."""
ANSWER_SECONDS: Seconds = 10.0
"""How long the broker may take for one batch."""


class Announcer:
    """A bounded line of tokens, and one loop that sends them."""

    def __init__(self, broker: Broker, stats: Stats) -> None:
        self._broker = broker
        self._stats = stats
        self._waiting: deque[Token] = deque()
        self._wake = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._down_since: Seconds | None = None
        self.trouble: str | None = None
        """What the broker said last when it could not serve; None when all is well."""

    def start(self) -> None:
        self._loop = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Send what waits, if the broker is there."""
        await end([self._loop])
        while self._waiting and self.trouble is None:
            if not await last_word(self._send(), "what was given back is not announced", log):
                break
        self._drop(len(self._waiting))

    def announce(self, task: Task) -> bool:
        """Put a task in line to be told of; False when this node had better look for itself."""
        if len(self._waiting) >= WAITING_MAX:
            self._stats.tokens["dropped"] += 1
            return False
        self._waiting.append(Token(queue=task.queue, job=task.job, task_id=task.id))
        self._wake.set()
        return self.trouble is None

    async def _run(self) -> None:
        pauses = Pauses()
        while True:
            try:
                with only_our_cancels():
                    await self._send()
            except BrokerUnavailable as error:
                self._fell_silent(str(error))
                await asyncio.sleep(pauses.next())
                continue
            except Exception as error:  # an adapter's own mistake must not end this loop
                log.exception("announcing failed")
                self._fell_silent(f"{type(error).__name__}: {error}")
                await asyncio.sleep(pauses.next())
                continue
            pauses.reset()
            self._answered()
            if not self._waiting:
                await self._something_to_send()

    async def _send(self) -> None:
        batch = tuple(islice(self._waiting, BATCH))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._broker.announce(batch)
        except TimeoutError:
            raise BrokerUnavailable(f"the broker has not answered for {ANSWER_SECONDS:g} s") from None
        for _ in batch:
            self._waiting.popleft()
        self._stats.tokens["announced"] += len(batch)

    async def _something_to_send(self) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            return

    def _fell_silent(self, why: str) -> None:
        now = asyncio.get_running_loop().time()
        if self._down_since is None:
            self._down_since = now
            log.warning("the broker cannot be told of tasks, workers look at the store meanwhile: %s", why)
        self.trouble = why
        if now - self._down_since > STALE_SECONDS:
            self._drop(len(self._waiting))

    def _answered(self) -> None:
        if self._down_since is not None:
            log.info("the broker takes tokens again")
        self._down_since = self.trouble = None

    def _drop(self, number: int) -> None:
        for _ in range(number):
            self._waiting.popleft()
        self._stats.tokens["dropped"] += number
