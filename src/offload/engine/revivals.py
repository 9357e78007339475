"""Which tasks can be given one more attempt."""

from offload.core.errors import ResultExpired, TaskIsDeleted, TaskIsFinal, TaskIsNotFinal
from offload.core.task import Status, Task


def refuse_revival(task: Task) -> None:
    """Raise TaskIsDeleted, TaskIsFinal, TaskIsNotFinal or ResultExpired for those that cannot."""
    if task.status is Status.DELETED:
        raise TaskIsDeleted(f"task {task.id} was deleted")
    if task.status is Status.DONE:
        raise TaskIsFinal(f"task {task.id} is DONE; create a new task to do the work again")
    if not task.final:
        raise TaskIsNotFinal(f"task {task.id} is {task.status}: only FAILED and CANCELED tasks can be retried")
    if task.payload_dropped:
        raise ResultExpired(f"the input of task {task.id} was dropped when its retention ended; submit it anew")
