"""Which lists of callbacks have to be looked at again."""

import msgspec

from offload.core.callback import Delivery, Told
from offload.core.task import ALL, Scope, Status
from offload.engine.moves import KEPT_MAX, Moved, Moves

ANNA, BERT = Scope(owner="anna"), Scope(owner="bert")
OF_ANNA = Delivery(
    id="msg_1", task_id="one", type="task.done", url="https://a.example/", body="event",
    told=Told(status=Status.DONE, attempt=1, at=0.0), host="a.example:443", created_at=0.0, due_at=0.0, owner="anna",
)  # fmt: skip


def test_an_owner_hears_of_their_own_and_of_new_ones() -> None:
    moves = Moves()
    moves.moved(OF_ANNA)
    assert moves.since(0, ALL) == moves.since(0, ANNA) == Moved(tasks=frozenset({"one"}))
    assert moves.since(0, BERT) is None
    assert moves.since(moves.number, ALL) is None
    before = moves.number
    moves.came()
    assert moves.since(before, BERT) == Moved(tasks=frozenset()), "whose it is is not known"


def test_what_is_not_kept_any_more_can_be_any() -> None:
    moves = Moves()
    for n in range(KEPT_MAX + 1):
        moves.moved(msgspec.structs.replace(OF_ANNA, task_id=f"task {n}"))
    assert moves.since(0, ALL) == Moved(tasks=None)
    assert moves.since(1, ANNA) == Moved(tasks=frozenset(f"task {n}" for n in range(1, KEPT_MAX + 1)))
    before = moves.number
    moves.moved_elsewhere()
    assert moves.since(before, BERT) == Moved(tasks=None)
