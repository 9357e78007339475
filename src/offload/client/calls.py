"""The client's core: each call to a server as a flow that a sync or an async driver runs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from offload.client.effects import Answer, Body, Flow, Request
from offload.client.errors import RemoteError
from offload.client.inputs import (
    Attachment,
    attachments,
    disposition,
    encode,
    file_body,
    form_body,
    form_fits,
    json_body,
    replaced,
)
from offload.client.options import Options, as_fields, as_header
from offload.client.replies import (
    JobDescription,
    KeyDescription,
    NewKey,
    NodeDescription,
    Page,
    QueueState,
    RemoteTask,
    StoredFile,
)
from offload.client.retries import Rules, Tries, exchange
from offload.core.errors import TaskIsFinal, TaskIsNotFinal

T = TypeVar("T")


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to submit: a job, its input as Python values, and options."""

    job: str
    input: Mapping[str, Any]
    options: Options
    hold_seconds: float = 0.0
    """How long the server may hold the answer for the result."""


def submit(rules: Rules, order: Order) -> Flow[Answer]:
    """Create and run a task; the answer is the result when it came in time, else 202 with the task's address."""
    header = as_header(order.options)
    places = list(attachments(order.input))
    if header is None:
        return (yield from create(rules, order, run=True))
    body: Body
    if places and form_fits(order.input, places):
        body = form_body(order.job, order.input, places)
    else:
        body = json_body(order.job, (yield from _files_stored(rules, order.input)))
    key = order.options.get("idempotency_key") or rules.new_key()
    request = Request(
        method="POST",
        path=f"/v1/jobs/{quote(order.job, safe='')}",
        headers={**header, "Idempotency-Key": key, **prefer(order.hold_seconds)},
        body=body,
        hold_seconds=order.hold_seconds,
        streams=order.hold_seconds > 0,
    )
    return (yield from exchange(rules, request))


def create(rules: Rules, order: Order, *, run: bool) -> Flow[Answer]:
    """Create a task, CREATED unless `run`."""
    stored = yield from _files_stored(rules, order.input)
    fields = {"job": order.job, "input": stored, "run": run, **as_fields(order.options)}
    key = order.options.get("idempotency_key") or rules.new_key()
    body = json_body(order.job, fields)
    return (
        yield from exchange(
            rules, Request(method="POST", path="/v1/tasks", headers={"Idempotency-Key": key}, body=body)
        )
    )


def created_id(answer: Answer) -> str:
    """Return the id of the task that a creation or submission made."""
    _, _, tail = answer.headers.get("location", "").partition("/v1/tasks/")
    if task_id := tail.partition("/")[0].partition("?")[0]:
        return task_id
    raise RemoteError(f"the server answered {answer.status} without the Location of a task", status=answer.status)


def batch(rules: Rules, orders: Sequence[Order]) -> Flow[list[RemoteTask]]:
    """Create and run many tasks, all or none."""
    items = []
    for order in orders:
        stored = yield from _files_stored(rules, order.input)
        encode(order.job, stored)  # tells mistakes by the job they belong to
        items.append({"job": order.job, "input": stored, "run": True, **as_fields(order.options)})
    body = json_body("batch", {"tasks": items})
    request = Request(method="POST", path="/v1/tasks/batch", headers={"Idempotency-Key": rules.new_key()}, body=body)
    return read((yield from exchange(rules, request)), Page).tasks


def get(rules: Rules, task_id: str) -> Flow[RemoteTask]:
    return read((yield from exchange(rules, Request(method="GET", path=_task(task_id)))), RemoteTask)


def run(rules: Rules, task_id: str) -> Flow[RemoteTask]:
    return read((yield from exchange(rules, Request(method="POST", path=_task(task_id) + "/run"))), RemoteTask)


def cancel(rules: Rules, task_id: str) -> Flow[RemoteTask]:
    """Cancel; a try whose answer was lost may have done it already, which is no error then."""
    tries = Tries()
    try:
        answer = yield from exchange(rules, Request(method="POST", path=_task(task_id) + "/cancel"), tries)
    except TaskIsFinal:
        if not tries.maybe_heard:
            raise
        task = yield from get(rules, task_id)
        if task.status != "CANCELED":
            raise
        return task
    return read(answer, RemoteTask)


def retry(rules: Rules, task_id: str) -> Flow[RemoteTask]:
    """Give a FAILED or CANCELED task one more attempt."""
    tries = Tries()
    try:
        answer = yield from exchange(rules, Request(method="POST", path=_task(task_id) + "/retry"), tries)
    except TaskIsNotFinal:
        if not tries.maybe_heard:
            raise
        return (yield from get(rules, task_id))
    return read(answer, RemoteTask)


def delete(rules: Rules, task_id: str) -> Flow[None]:
    yield from exchange(rules, Request(method="DELETE", path=_task(task_id)))


def logs(rules: Rules, task_id: str) -> Flow[str]:
    answer = yield from exchange(rules, Request(method="GET", path=_task(task_id) + "/logs"))
    return answer.body.decode("utf-8", "replace")


def page(rules: Rules, query: Mapping[str, str]) -> Flow[Page]:
    """Return one page of tasks, newest first."""
    return read((yield from exchange(rules, Request(method="GET", path="/v1/tasks", query=query))), Page)


def jobs(rules: Rules) -> Flow[list[JobDescription]]:
    answer = yield from exchange(rules, Request(method="GET", path="/v1/jobs"))
    return read(answer, _Jobs).jobs


def queues(rules: Rules) -> Flow[list[QueueState]]:
    answer = yield from exchange(rules, Request(method="GET", path="/v1/queues"))
    return read(answer, _Queues).queues


def nodes(rules: Rules) -> Flow[list[NodeDescription]]:
    return read((yield from exchange(rules, Request(method="GET", path="/v1/nodes"))), _Nodes).nodes


def set_paused(rules: Rules, queue: str, paused: bool) -> Flow[QueueState]:
    path = f"/v1/queues/{quote(queue, safe='')}/{'pause' if paused else 'resume'}"
    return read((yield from exchange(rules, Request(method="POST", path=path))), QueueState)


def keys(rules: Rules) -> Flow[list[KeyDescription]]:
    return read((yield from exchange(rules, Request(method="GET", path="/v1/keys"))), _Keys).keys


def create_key(rules: Rules, wish: Mapping[str, Any]) -> Flow[NewKey]:
    """Make a key. Not tried again when its answer is lost: the key in it would be lost too, and still be valid."""
    body = json_body("key", {name: value for name, value in wish.items() if value is not None})
    return read(
        (yield from exchange(replace(rules, retries=0), Request(method="POST", path="/v1/keys", body=body))), NewKey
    )


def revoke_key(rules: Rules, key_id: str) -> Flow[KeyDescription]:
    request = Request(method="DELETE", path=f"/v1/keys/{quote(key_id, safe='')}")
    return read((yield from exchange(rules, request)), KeyDescription)


def upload(rules: Rules, file: Attachment) -> Flow[StoredFile]:
    """Store one file under an id of its own."""
    headers = {"Content-Disposition": disposition(file)}
    request = Request(method="POST", path="/v1/files", headers=headers, body=file_body(file))
    return read((yield from exchange(rules, request)), StoredFile)


def prefer(hold_seconds: float) -> dict[str, str]:
    """Return the header that asks the server to hold its answer (RFC 7240)."""
    return {"Prefer": f"wait={hold_seconds:.3f}".rstrip("0").rstrip(".")} if hold_seconds > 0 else {}


def read(answer: Answer, kind: type[T]) -> T:
    """Return the body of an answer as a value, or raise RemoteError when it is none."""
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except msgspec.DecodeError as error:
        raise RemoteError(f"the server's answer is not understood: {error}", status=answer.status) from None


def _files_stored(rules: Rules, value: Mapping[str, Any]) -> Flow[Mapping[str, Any]]:
    """Store every file of an input on its own and name it in its place."""
    names: dict[tuple[str | int, ...], Any] = {}
    for place in attachments(value):
        stored = yield from upload(rules, place.file)
        names[place.path] = f"file:{stored.id}"
    found: Mapping[str, Any] = replaced(value, names) if names else value
    return found


def _task(task_id: str) -> str:
    return f"/v1/tasks/{quote(task_id, safe='')}"


class _Jobs(msgspec.Struct):
    jobs: list[JobDescription]


class _Keys(msgspec.Struct):
    keys: list[KeyDescription]


class _Nodes(msgspec.Struct):
    nodes: list[NodeDescription]


class _Queues(msgspec.Struct):
    queues: list[QueueState]
