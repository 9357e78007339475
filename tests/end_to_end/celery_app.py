"""An existing Celery application, as somebody else may have written it: it knows nothing of offload."""

import os
import time
from pathlib import Path
from typing import Any

from celery import Celery, Task
from celery.exceptions import Ignore

app = Celery("shop", broker=os.environ["BROKER_URL"], backend=os.environ["RESULT_URL"])
app.conf.update(
    worker_prefetch_multiplier=1,
    task_routes={"*.mail": {"queue": "mails"}},
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 3600},
    result_expires=int(os.environ.get("RESULT_SECONDS", "86400")),
)


@app.task  # type: ignore[untyped-decorator]
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


@app.task(ignore_result=True)  # type: ignore[untyped-decorator]
def mail(to: str, *lines: str, **headers: str) -> dict[str, Any]:
    return {"to": to, "lines": lines, "headers": headers}


@app.task  # type: ignore[untyped-decorator]
def refuse(why: str) -> None:
    raise ValueError(why)


@app.task(bind=True, max_retries=2, default_retry_delay=0.3)  # type: ignore[untyped-decorator]
def stubborn(self: Task, trace: str) -> int:
    leave(trace)
    if (tried := self.request.retries) < 2:
        raise self.retry(exc=ValueError("not yet"))
    return int(tried)


@app.task(bind=True)  # type: ignore[untyped-decorator]
def steps(self: Task, count: int, seconds: float) -> str:
    for step in range(count):
        self.update_state(state="PROGRESS", meta={"current": step, "total": count, "message": f"step {step}"})
        time.sleep(seconds)
    return "arrived"


@app.task  # type: ignore[untyped-decorator]
def sleep_once(trace: str, seconds: float) -> str:
    leave(trace)
    time.sleep(seconds)
    return "rested"


@app.task(acks_late=True)  # type: ignore[untyped-decorator]
def sleep_surely(trace: str, seconds: float) -> str:
    leave(trace)
    time.sleep(seconds)
    return "rested"


@app.task  # type: ignore[untyped-decorator]
def hold_once(trace: str, gate: str) -> str:
    leave(trace)
    return wait_at(gate)


@app.task(acks_late=True)  # type: ignore[untyped-decorator]
def hold_surely(trace: str, gate: str) -> str:
    leave(trace)
    return wait_at(gate)


@app.task(time_limit=1)  # type: ignore[untyped-decorator]
def endless() -> None:
    time.sleep(600)


@app.task  # type: ignore[untyped-decorator]
def shrug() -> None:
    raise Ignore


@app.task  # type: ignore[untyped-decorator]
def large(size: int) -> str:
    return "x" * size


def wait_at(gate: str) -> str:
    """Go on once there is a file."""
    while not Path(gate).exists():
        time.sleep(0.02)
    return "rested"


def leave(trace: str) -> None:
    with Path(trace).open("a") as lines:
        lines.write(f"{os.getpid()}\n")
