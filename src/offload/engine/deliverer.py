"""Sends due callbacks: signed, host by host, tried again by their schedule, until each is delivered or given up."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from offload.core.callback import Delivery, DeliveryState, Try, after_try, as_told, is_superseded
from offload.core.errors import TryAgain
from offload.core.ring import DELIVERIES
from offload.core.signing import Signer
from offload.core.task import ALL, FileRef, Record, Seconds, Task
from offload.engine.callbacks import Callbacks, Trial
from offload.engine.loops import Pauses
from offload.engine.parts import Parts
from offload.engine.rounds import Rounds
from offload.ports.callbacks import Lines, Settlement, Standing, Taken

log = logging.getLogger("offload.deliverer")

WHOLE_BYTES_MAX = 1024**2
"""A body up to this size is held in memory while it is sent; a larger one is read from its file as it goes."""


class Pace(Record, frozen=True, kw_only=True):
    """How much is sent at once, and how often is looked for more."""

    at_once_max: int = 1024
    """In all; hosts that work have a quarter more, so that those that do not can never take it all."""
    host_max: int = 8
    lease_seconds: Seconds = 60.0
    """Longer than two sends may take: one may wait for another of its task."""
    poll_seconds: Seconds = 30.0
    stop_seconds: Seconds = 3.0
    """How long sends may go on when the node stops."""


class Rendered(Record, frozen=True, kw_only=True):
    """What a callback says: bytes, or the bytes of a file."""

    content_type: str
    body: bytes = b""
    file: FileRef | None = None
    skip_bytes: int = 0
    """How much of the file comes before what is said."""
    fields: dict[str, str] = {}
    """More of its header."""


Render = Callable[[Delivery, Task], Awaitable[Rendered]]


class Deliverer:
    """One per node. Woken by commits and by time; what it holds when the node dies comes due again by its lease."""

    def __init__(self, parts: Parts, callbacks: Callbacks, render: Render, pace: Pace | None = None) -> None:
        self._parts = parts
        self._callbacks = callbacks
        self._render = render
        self._pace = pace or Pace()
        self._rounds = Rounds(self._round, what="callbacks", log=log)
        self._sends: dict[asyncio.Task[None], Taken] = {}
        self._of_task: dict[str, asyncio.Task[None]] = {}
        """The newest send of each task: what tells of one task goes one after the other."""

    async def start(self) -> None:
        self._parts.deliveries.listen(self._came)
        self._rounds.start()

    async def stop(self) -> None:
        """Take no more, let sends end for a moment, give back the rest."""
        await self._rounds.stop()
        if self._sends:
            await asyncio.wait(self._sends, timeout=self._pace.stop_seconds)
        for send in self._sends:
            send.cancel()
        await asyncio.gather(*self._sends, return_exceptions=True)

    def wake(self) -> None:
        """Look at once."""
        self._rounds.wake()

    def sending(self) -> int:
        return len(self._sends)

    def _came(self) -> None:
        self._callbacks.moves.came()
        self._parts.ringer.topic(DELIVERIES)
        self.wake()

    async def _round(self) -> Seconds:
        """Begin what is due; return after how many seconds to look again."""
        now = self._parts.clock.now()  # one for both questions: what comes due between them would be in neither
        if await self._take(now):
            return 0.0
        due_at = await self._parts.deliveries.next_due(now)
        most = self._pace.poll_seconds
        return most if due_at is None else min(most, max(0.005, due_at - now))

    async def _take(self, now: Seconds) -> bool:
        """Begin what is due and has room; tell whether there was any."""
        lines = self._lines()
        if max(lines.room.values()) <= 0:
            return False
        taken = await self._parts.deliveries.claim(lines, now=now, lease_until=now + self._pace.lease_seconds)
        for each in taken:
            self._callbacks.moves.moved(each.delivery)
            task_id = each.delivery.task_id
            earlier = self._of_task.get(task_id)
            send = asyncio.get_running_loop().create_task(self._send(each.delivery, earlier))
            self._sends[send] = each
            self._of_task[task_id] = send
            send.add_done_callback(self._sent)
        return bool(taken)

    def _lines(self) -> Lines:
        busy = Counter(taken.delivery.host for taken in self._sends.values())
        most, sending = self._pace.at_once_max, len(self._sends)
        failing = sum(taken.standing is Standing.FAILING for taken in self._sends.values())
        reserve = max(1, most // 4)
        room = {
            Standing.WORKS: most + reserve - sending,
            Standing.NEW: most - sending,
            Standing.FAILING: min(most - sending, reserve - failing),
        }
        return Lines(room=room, busy=busy, host_max=self._pace.host_max)

    def _sent(self, send: asyncio.Task[None]) -> None:
        task_id = self._sends.pop(send).delivery.task_id
        if self._of_task.get(task_id) is send:
            del self._of_task[task_id]
        self.wake()
        if not send.cancelled() and (error := send.exception()) is not None:
            log.error("a callback was not settled; its lease will end", exc_info=error)

    async def _send(self, delivery: Delivery, earlier: asyncio.Task[None] | None) -> None:
        try:
            if earlier is not None:
                await asyncio.wait([earlier])
            settlement = await self._tried(delivery)
        except asyncio.CancelledError:
            due = msgspec.structs.replace(delivery, due_at=self._parts.clock.now())
            await self._settle(Settlement(before=delivery, after=due, worked=None), "released")
            raise
        state = settlement.after.state
        outcome = "superseded" if settlement.worked is None else "failed" if state is DeliveryState.PENDING else state
        await self._settle(settlement, outcome.lower())

    async def _tried(self, delivery: Delivery) -> Settlement:
        """Send it, unless the task has moved on and it would tell what is not true any more."""
        task = await self._parts.store.get(ALL, delivery.task_id)
        if task is None or is_superseded(delivery, task):
            last = Try(at=self._parts.clock.now(), latency_seconds=0.0, error="Superseded: the task has moved on")
            over = msgspec.structs.replace(delivery, state=DeliveryState.GIVEN_UP, last=last)
            return Settlement(before=delivery, after=over, worked=None)
        begun = self._parts.clock.now()
        try:
            trial = await self._post(delivery, as_told(delivery, task))
        except Exception as error:
            log.exception("callback %s could not be sent", delivery.id)
            wrong = f"{type(error).__name__}: the server could not make or send it; its log says more"
            trial = Trial(tried=Try(at=begun, latency_seconds=0.0, error=wrong))
        after = after_try(
            delivery, trial.tried, chance=self._parts.chance(),
            retry_after_seconds=trial.retry_after_seconds, hopeless=trial.hopeless,
        )  # fmt: skip
        return Settlement(before=delivery, after=after, worked=trial.tried.accepted)

    async def _post(self, delivery: Delivery, task: Task) -> Trial:
        said = await self._render(delivery, task)
        secrets = [secret.text for secret in await self._callbacks.secrets(delivery.owner)]
        signer = Signer(secrets, delivery.id, int(self._parts.clock.now()))
        body: bytes | AsyncIterator[bytes] = said.body
        fields = dict(said.fields)
        if (file := said.file) is not None:
            size, start, read = file.size - said.skip_bytes, said.skip_bytes, self._parts.blobs.read
            if size <= WHOLE_BYTES_MAX:
                body = b"".join([chunk async for chunk in read(file.blob, start=start, size=size)])
            else:
                async for chunk in read(file.blob, start=start, size=size):
                    signer.update(chunk)
                body = read(file.blob, start=start, size=size)
                fields["Content-Length"] = str(size)
        if isinstance(body, bytes):
            signer.update(body)
        fields |= {"Content-Type": said.content_type, **signer.headers()}
        with self._parts.traces.calling(f"callback {delivery.type}", task.traceparent, task) as going:
            trial = await self._callbacks.send(delivery.url, {**fields, **going.fields}, body)
            going.error = "" if trial.tried.accepted else trial.tried.error or f"status {trial.tried.status_code}"
        return trial

    async def _settle(self, settlement: Settlement, outcome: str) -> None:
        """Record what came of it. While the store cannot write, the lease runs, and it may be sent once more."""
        pauses = Pauses()
        while True:
            try:
                (written,) = await self._parts.deliveries.settle([settlement])
                break
            except TryAgain as error:
                log.warning("cannot record a callback, trying again: %s", error)
                if self._rounds.stopping:
                    return
            await asyncio.sleep(pauses.next())
        if written:
            self._parts.stats.callbacks[outcome] += 1
            self._callbacks.moves.moved(settlement.before)
            self._parts.ringer.topic(DELIVERIES)
