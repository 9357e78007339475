"""Which jobs may have tasks ready, so that a free place asks the store only when there may be something to get."""

from collections.abc import Iterable, Mapping, Sequence

from offload.core.ring import Lot
from offload.core.task import Task
from offload.ports import Ask, Depth, Room


class Hunger:
    """Lots to ask for. A lot is dropped when it gave less than asked, unless a hint came in between."""

    def __init__(self, queue_of: Mapping[str, str]) -> None:
        self._queues_of = {job: {queue} for job, queue in queue_of.items()}
        self._lots: set[Lot] = set()
        self._hints: set[Lot] = set()
        self._turn = 0

    def __bool__(self) -> bool:
        return bool(self._lots)

    def hint(self, queue: str, job: str) -> None:
        """A task of this lot may be ready."""
        if job in self._queues_of:
            self._queues_of[job].add(queue)
            self._lots.add((queue, job))
            self._hints.add((queue, job))

    def everything(self, depths: Iterable[Depth] = ()) -> None:
        """Ask for every lot again; a job that moved to another queue still has tasks in the old one."""
        for job, queues in self._queues_of.items():
            for queue in queues:
                self.hint(queue, job)
        for depth in depths:
            self.hint(depth.queue, depth.job)

    def still(self, lots: Iterable[Lot]) -> list[Lot]:
        """Return those of these lots that are to be asked for, or are of no job here."""
        return [lot for lot in lots if lot in self._lots or lot[1] not in self._queues_of]

    def asks(self, rooms: Iterable[Room], paused: set[str]) -> list[Ask]:
        """Share each lane's places among its queues, starting with another queue each time."""
        self._hints.clear()
        return [ask for room in rooms if room.places > 0 for ask in self._asks_for(room, paused)]

    def fed(self, asks: Sequence[Ask], claimed: Iterable[Task]) -> None:
        """Learn from what the asks gave."""
        got: dict[Lot, int] = {}
        for task in claimed:
            lot = (task.queue, task.job)
            got[lot] = got.get(lot, 0) + 1
        for ask in asks:
            lots = {(ask.queue, job) for job in ask.jobs}
            if sum(got.get(lot, 0) for lot in lots) < ask.limit:
                self._lots -= lots - self._hints

    def _asks_for(self, room: Room, paused: set[str]) -> list[Ask]:
        by_queue: dict[str, list[str]] = {}
        for job in room.jobs:
            for queue in self._queues_of.get(job, ()):
                if (queue, job) in self._lots and queue not in paused:
                    by_queue.setdefault(queue, []).append(job)
        if not by_queue:
            return []
        self._turn += 1
        queues = sorted(by_queue)
        first = self._turn % len(queues)
        share, rest = divmod(room.places, len(queues))
        return [
            Ask(queue=queue, jobs=tuple(by_queue[queue]), limit=share + (i < rest))
            for i, queue in enumerate(queues[first:] + queues[:first])
            if share + (i < rest) > 0
        ]
