"""The last hour: what is counted, when it is written, and that a restart does not forget it."""

from pathlib import Path

from offload.core.history import KEPT_SECONDS, STEP_SECONDS, Sample, merged
from offload.core.task import Status
from tests.unit.engine.kit import kit
from tests.unit.engine.steps import CATALOG, status_is, submit
from tests.unit.engine.waiting import until


async def test_each_step_tells_what_came_and_went_and_a_quiet_one_is_told_once(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        pulse = it.engine.pulse
        await pulse.step()
        assert await pulse.history() == []
        task_id = await submit(it)
        await until(lambda: task_id in it.workers.running)
        it.clock.at += STEP_SECONDS
        await pulse.step()
        (first,) = await pulse.history()
        assert (first.arrivals, first.done, first.queued, first.running) == (1, 0, 0, 1)
        it.succeed(task_id)
        await status_is(it, task_id, Status.DONE)
        for _ in range(3):
            it.clock.at += STEP_SECONDS
            await pulse.step()
        _, second, quiet = await pulse.history()
        assert (second.arrivals, second.done, second.running) == (0, 1, 0)
        assert quiet.is_quiet


async def test_only_an_hour_is_kept(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        await submit(it)
        await it.engine.pulse.step()
        assert len(await it.engine.pulse.history()) == 1
        it.clock.at += KEPT_SECONDS + STEP_SECONDS * 2
        assert await it.engine.pulse.history() == []


def test_nodes_add_up_what_each_counted_and_not_what_all_of_them_see() -> None:
    def sample(node: str, **fields: int) -> Sample:
        return Sample(at=10.0, node=node, queue="images", **fields)

    found = merged([sample("a", arrivals=1, done=2, queued=7, running=1), sample("b", arrivals=3, failed=1, queued=6)])
    assert [(s.arrivals, s.done, s.failed, s.queued, s.running) for s in found] == [(4, 2, 1, 7, 1)]
