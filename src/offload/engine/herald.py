"""Posts tasks of external jobs to workers that speak a broker's protocol, and hears of what comes back."""

import asyncio
import heapq
import logging
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Iterable
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from offload.core.errors import TryAgain
from offload.core.lease import Use, node_of, signed, ticket_of
from offload.core.outcome import Failed
from offload.core.places import put
from offload.core.ring import Lot
from offload.core.task import ALL, Reason, Seconds, Status, Task, TaskError
from offload.core.transitions import Event, Facts, decide
from offload.engine.dispatcher import Dispatcher
from offload.engine.leases import Leases
from offload.engine.loops import Pauses, end, only_our_cancels
from offload.engine.parts import Parts, count_claimed
from offload.ports import Filter
from offload.ports.broker import BrokerUnavailable
from offload.ports.work_queue import Mail, ReturnedMail, WorkQueue

T = TypeVar("T")
log = logging.getLogger("offload.herald")

BATCH = 100
WAITING_MAX = 10_000
"""Tasks that wait to be posted; those beyond are found by looking."""
KNOWN_MAX = 200_000
"""Attempts of which this node remembers that it posted them, and when."""
LOOKED_THROUGH_MAX = 5_000
"""Tasks of a lot that are looked through at a time for such as were never posted, or whose mail was lost."""
PREFETCHED_MAX = 10
"""So many mails a consumer may hold without having begun them; when more are missing, mails were lost."""
AGAIN_SWEEPS = 3
"""When mails were lost, what was posted so many sweeps ago is posted again."""
CALL_SECONDS_MAX: Seconds = 45.0
LOOKS = 2
"""A broker that is busy may say that it has none; so it is asked twice."""
AGAIN_SWEEPS_MAX = 12
"""What was posted so many sweeps ago and is missing is posted again, even if a worker may have it and not begin it."""


class Message(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What a worker gets, in the order in which people read it; every URL is good for this attempt and needs no key."""

    task: str
    job: str
    queue: str
    attempt: int
    input: Any
    """As JSON, with name, type, size and URL in the place of each file."""
    download_from: dict[str, str]
    upload_to: str
    """PUT the result here: JSON or a file. The answer 200 says that the task is DONE; then acknowledge the message."""
    failed_to: str
    lease: str
    """For heartbeats and progress, by HTTP and with a key, if the worker wants to."""
    traceparent: str = ""
    """Left out when the task belongs to no trace."""


class Herald:
    """A line of tasks to post, and three loops: one posts, one looks for what was lost, one takes what came back."""

    def __init__(self, parts: Parts, queue: WorkQueue, dispatcher: Dispatcher, paused: set[str]) -> None:
        self._parts = parts
        self._queue = queue
        self._dispatcher = dispatcher
        self._paused = paused
        self._leases = Leases(parts, dispatcher)
        self._jobs = {job.name for job in parts.catalog if job.external}
        self._waiting: deque[Task] = deque()
        self._later: list[tuple[Seconds, int, Task]] = []
        self._posted: OrderedDict[tuple[str, int], Seconds] = OrderedDict()
        self._lacking: Counter[Lot] = Counter()
        """How many looks in a row found fewer mails than tasks."""
        self._wake = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []
        self.trouble: str | None = None
        """What the broker said last when it could not serve; None when all is well."""

    def start(self) -> None:
        spawn = asyncio.get_running_loop().create_task
        self._loops = [
            spawn(self._again_and_again(duty)) for duty in (self._post_waiting, self._look_for_lost, self._hear)
        ]

    async def stop(self) -> None:
        await end(self._loops)

    def came(self, task: Task) -> None:
        """A task became QUEUED."""
        if task.job not in self._jobs or len(self._waiting) + len(self._later) >= WAITING_MAX:
            return
        if task.run_at is not None and task.run_at > self._parts.clock.now():
            heapq.heappush(self._later, (task.run_at, task.key, task))
        else:
            self._waiting.append(task)
        self._wake.set()

    async def _again_and_again(self, duty: Any) -> None:
        pauses = Pauses()
        while True:
            try:
                with only_our_cancels():
                    await duty()
            except (BrokerUnavailable, TryAgain) as error:
                if self.trouble is None:
                    log.warning("workers cannot be told of tasks, trying again: %s", error)
                self.trouble = str(error)
            except Exception as error:
                log.exception("the herald failed in this round")
                self.trouble = f"{type(error).__name__}: {error}"
            else:
                pauses.reset()
                self.trouble = None
                continue
            await asyncio.sleep(pauses.next())

    async def _post_waiting(self) -> None:
        now = self._parts.clock.now()
        while self._later and self._later[0][0] <= now:
            self._waiting.append(heapq.heappop(self._later)[2])
        if not self._waiting:
            self._wake.clear()
            seconds = min(1.0, self._later[0][0] - now) if self._later else None
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            except TimeoutError:
                pass
            return
        batch = list(islice(self._waiting, BATCH))
        await self._post(batch)
        for _ in batch:
            self._waiting.popleft()

    async def _post(self, tasks: Iterable[Task]) -> None:
        posted = []
        for task in tasks:
            if task.queue in self._paused:
                continue  # it is found by looking, when it goes on
            if any(file.url for file in task.files):
                await self._fetch(task)  # and it comes again when its files are here
            else:
                posted.append(task)
        if posted:
            await _bounded(self._queue.post([self._mail(task) for task in posted]))
            for task in posted:
                self._remember(task)
            self._parts.stats.tokens["posted"] += len(posted)

    async def _fetch(self, task: Task) -> None:
        parts, now = self._parts, self._parts.clock.now()
        nonce = bytes.fromhex(ticket_of(parts.secret, task).node[-16:])
        facts = Facts(now=now, node=node_of(nonce), lease_until=now + parts.timing.lease_seconds)
        change = decide(task, Event.CLAIM, facts)
        with parts.traffic.moving():
            if (await parts.store.apply([change]))[0]:
                count_claimed(parts, change.after, now, here=False)
                self._dispatcher.fetch(change.after)

    async def _look_for_lost(self) -> None:
        """Compare what waits in the store with what waits at the broker."""
        sweep_seconds = self._parts.timing.sweep_seconds
        for depth in await self._parts.store.depths():
            lot = (depth.queue, depth.job)
            if depth.job in self._jobs and depth.queued and depth.queue not in self._paused:
                unread = await _bounded(self._queue.unread(lot))
                missing = depth.queued - unread.mails
                self._lacking[lot] = self._lacking[lot] + 1 if missing > 0 else 0
                if self._lacking[lot] >= LOOKS:
                    many = missing > unread.consumers * PREFETCHED_MAX
                    await self._post_lost(lot, sweep_seconds * (AGAIN_SWEEPS if many else AGAIN_SWEEPS_MAX))
        await asyncio.sleep(sweep_seconds)

    async def _post_lost(self, lot: Lot, seconds: Seconds) -> None:
        parts = self._parts
        now, before, found = parts.clock.now(), None, 0
        while found < LOOKED_THROUGH_MAX:
            wanted = Filter(queue=lot[0], job=lot[1], statuses=(Status.QUEUED,), before_key=before, limit=500)
            tasks = await parts.store.find(ALL, wanted)
            if not tasks:
                return
            lost = [task for task in tasks if (task.run_at or 0.0) <= now and self._age(task, now) > seconds]
            for start in range(0, len(lost), BATCH):
                await self._post(lost[start : start + BATCH])
            found, before = found + len(tasks), tasks[-1].key

    async def _hear(self) -> None:
        """Take mails that came back: no worker settled them, or one did not want them."""
        mails = await _bounded(self._queue.returned(limit=BATCH))
        for mail in mails:
            await self._fail(mail)
        if mails:
            await self._queue.settle(mails)

    async def _fail(self, mail: ReturnedMail) -> None:
        try:
            message = msgspec.json.decode(mail.body, type=_Named)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return  # nobody of us wrote it
        if mail.rejected:
            error = TaskError(type="MessageRejected", message="the worker rejected the message of this attempt")
            failed = Failed(reason=Reason.ERROR, error=error)
        else:
            error = TaskError(type="MessageUnsettled", message="workers got the message of this attempt and went away")
            failed = Failed(reason=Reason.WORKER_LOST, error=error, worker_died=True)
        self._parts.stats.tokens["returned"] += 1
        await self._leases.returned(message.lease, failed)

    def _age(self, task: Task, now: Seconds) -> Seconds:
        return now - self._posted.get((task.id, task.attempt), float("-inf"))

    def _remember(self, task: Task) -> None:
        self._posted[task.id, task.attempt] = self._parts.clock.now()
        self._posted.move_to_end((task.id, task.attempt))
        if len(self._posted) > KNOWN_MAX:
            self._posted.popitem(last=False)

    def _mail(self, task: Task) -> Mail:
        secret, ticket = self._parts.secret, ticket_of(self._parts.secret, task)
        own = f"{self._parts.lending.public_url}/v1/leases"
        reading, writing = (f"{own}/{signed(secret, use, ticket)}" for use in (Use.READ, Use.WRITE))
        urls = {file.field: f"{reading}/input/{quote(file.field, safe='')}" for file in task.files}
        given = msgspec.json.decode(task.input)
        for file in task.files:
            put(given, file.field, {"name": file.name, "type": file.type, "size": file.size, "url": urls[file.field]})
        message = Message(
            task=task.id,
            job=task.job,
            queue=task.queue,
            attempt=ticket.attempt,
            input=given,
            download_from=urls,
            upload_to=f"{writing}/result?done=true",
            failed_to=f"{writing}/result/failed",
            lease=signed(secret, Use.HOLD, ticket),
            traceparent=task.traceparent,
        )
        return Mail(
            queue=task.queue,
            job=task.job,
            task_id=task.id,
            body=msgspec.json.encode(message),
            traceparent=task.traceparent,
        )


async def _bounded(call: Awaitable[T]) -> T:
    """Wait for an answer of the broker, but not for ever. Raise BrokerUnavailable."""
    try:
        async with asyncio.timeout(CALL_SECONDS_MAX):
            return await call
    except TimeoutError:
        raise BrokerUnavailable(f"the broker has not answered for {CALL_SECONDS_MAX:g} s") from None


class _Named(msgspec.Struct, frozen=True):
    """Of a message that came back only this counts: the rest may have been written by anybody."""

    lease: str
