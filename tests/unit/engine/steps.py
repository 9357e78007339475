"""The jobs and steps that the engine's tests share."""

import uuid

from offload import Retry, job
from offload.core.catalog import Catalog
from offload.core.outcome import Failed
from offload.core.task import Reason, Status, Task, TaskError
from tests.unit.engine.kit import Kit
from tests.unit.engine.waiting import until_async


@job
def noop() -> int:
    return 1


@job(queue="slow", retry=Retry(max_attempts=2, first_seconds=10.0, jitter=False))
def slow() -> int:
    return 1


@job(retry=Retry(max_attempts=1))
def once() -> int:
    return 1


CATALOG = Catalog.of_jobs(noop, slow, once)
BROKEN = Failed(reason=Reason.ERROR, error=TaskError(type="ValueError", message="no"))
DEAD = Failed(reason=Reason.WORKER_LOST, error=TaskError(type="WorkerLost", message="SIGKILL"), worker_died=True)


def new_id() -> str:
    return str(uuid.uuid4())


async def submit(kit: Kit, job: str = "noop", **options: object) -> str:
    return (await kit.submit(job, task_id=new_id(), **options)).id


async def status_is(kit: Kit, task_id: str, status: Status) -> Task:
    found = await kit.get(task_id)

    async def there() -> bool:
        nonlocal found
        found = await kit.get(task_id)
        return found.status is status

    try:
        await until_async(there)
    except TimeoutError:
        raise AssertionError(f"the task did not become {status}: {found}") from None
    return found
