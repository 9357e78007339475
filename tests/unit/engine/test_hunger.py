"""A free place asks the store only when there may be something to get, and no hint is lost."""

from offload.core.task import Status, Task
from offload.engine.hunger import Hunger
from offload.ports import Ask, Depth, Room

ROOM = Room(lane="shared", jobs=("resize", "report"), places=2)


def task(job: str, queue: str = "default") -> Task:
    return Task(id="1", job=job, queue=queue, status=Status.QUEUED, created_at=0.0, run_at=0.0)


def hungry(**queue_of: str) -> Hunger:
    hunger = Hunger(queue_of)
    hunger.everything()
    return hunger


def test_a_lot_that_gave_less_than_asked_is_not_asked_again_until_a_hint() -> None:
    hunger = hungry(resize="default", report="default")
    asks = hunger.asks([ROOM], set())
    assert asks == [Ask(queue="default", jobs=("resize", "report"), limit=2)]
    hunger.fed(asks, [task("resize")])
    assert hunger.asks([ROOM], set()) == []
    hunger.hint("default", "report")
    assert hunger.asks([ROOM], set()) == [Ask(queue="default", jobs=("report",), limit=2)]


def test_a_lot_that_gave_all_that_was_asked_is_asked_again() -> None:
    hunger = hungry(resize="default", report="default")
    asks = hunger.asks([ROOM], set())
    hunger.fed(asks, [task("resize"), task("report")])
    assert hunger.asks([ROOM], set()) == asks


def test_a_hint_that_comes_while_the_store_is_asked_is_not_lost() -> None:
    hunger = hungry(resize="default", report="default")
    asks = hunger.asks([ROOM], set())
    hunger.hint("default", "resize")
    hunger.fed(asks, [])
    assert hunger.asks([ROOM], set()) == [Ask(queue="default", jobs=("resize",), limit=2)]


def test_a_lanes_places_are_shared_among_its_queues_in_turns() -> None:
    hunger = hungry(resize="images", report="papers")
    one = Room(lane="shared", jobs=("resize", "report"), places=1)
    asked = {hunger.asks([one], set())[0].queue for _ in range(2)}
    assert asked == {"images", "papers"}
    assert sum(ask.limit for ask in hunger.asks([ROOM], set())) == 2


def test_a_lane_without_places_and_a_paused_queue_are_not_asked_for() -> None:
    hunger = hungry(resize="images", report="papers")
    assert [ask.queue for ask in hunger.asks([ROOM], {"images"})] == ["papers"]
    assert hunger.asks([Room(lane="shared", jobs=("resize",), places=0)], set()) == []


def test_tasks_left_in_a_jobs_former_queue_are_found() -> None:
    hunger = Hunger({"resize": "images"})
    hunger.everything([Depth(queue="old", job="resize", queued=3), Depth(queue="old", job="gone", queued=1)])
    room = Room(lane="shared", jobs=("resize",), places=4)
    assert {ask.queue for ask in hunger.asks([room], set())} == {"images", "old"}
