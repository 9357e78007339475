"""A node goes on claiming whatever its workers say of their room."""

from pathlib import Path

import pytest

from offload.core.task import Status
from offload.engine.parts import Fetching, Timing
from offload.ports import Room
from tests.egress.zoo import Zoo
from tests.unit.engine.kit import HandWorkers, kit
from tests.unit.engine.steps import CATALOG, status_is, submit
from tests.unit.engine.test_inputs import Gate
from tests.unit.engine.test_inputs import submit as submit_with_url
from tests.unit.engine.waiting import until


class Away(HandWorkers):
    """Workers that have no lanes for a while, or cannot say which, as those of others may."""

    says: list[Room] | Exception | None = None
    asked = 0

    def rooms(self) -> list[Room]:
        self.asked += 1
        if isinstance(self.says, Exception):
            raise self.says
        return super().rooms() if self.says is None else self.says


@pytest.mark.parametrize("says", [[], OSError("no file can be opened")])
async def test_tasks_are_claimed_again_when_workers_come_back_that_were_away(
    tmp_path: Path, says: list[Room] | Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.unit.engine.kit.HandWorkers", Away)
    gate, timing, fetching = Gate(), Timing(sweep_seconds=0.02, heartbeat_seconds=600.0), Fetching(pause_seconds=0.01)
    async with (
        Zoo({"/cat": gate}).open() as zoo,
        kit(tmp_path, CATALOG, timing=timing, fetching=fetching, places=2) as it,
    ):
        workers = it.workers
        assert isinstance(workers, Away)
        fetched = await submit_with_url(it, zoo.url("/cat"))
        await until(lambda: gate.waiting == 1)
        workers.says = says
        gate.opened.set()
        await until(lambda: bool(it.engine._dispatcher._arrived))
        asked = workers.asked
        await until(lambda: workers.asked > asked)
        workers.says = None
        plain = await submit(it)
        await status_is(it, plain, Status.RUNNING)
        await until(lambda: {fetched, plain} <= set(workers.running))
