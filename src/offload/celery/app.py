"""Finds the user's Celery application, and makes it one that this process can talk to without ever hanging."""

import importlib
import os
import sys
from typing import Any

from celery import Celery
from celery.app.utils import find_app
from celery.backends.base import DisabledBackend
from celery.backends.rpc import RPCBackend

from offload.core.errors import CannotLoadJobs

SOCKET_SECONDS = 5.0
"""How long the broker and the result backend may be silent before they count as away."""


def load_app(target: str) -> Celery:
    """Return the application that `celery -A target` would find, with all its tasks. Raise CannotLoadJobs."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        app = find_app(target, imp=importlib.import_module)
        if not isinstance(app, Celery):
            raise CannotLoadJobs(f"{target} is no Celery application; say it as for `celery -A`, such as proj.app")
        app.loader.import_default_modules()
        app.finalize()
    except CannotLoadJobs:
        raise
    except (Exception, SystemExit) as error:
        raise CannotLoadJobs(f"{target}: no Celery application there: {type(error).__name__}: {error}") from error
    if wrong := _unfit(app):
        raise CannotLoadJobs(f"{target}: {wrong}")
    return app


def tasks_of(app: Celery) -> dict[str, Any]:
    """Return the tasks of an application by name, without those of Celery itself."""
    return {name: task for name, task in sorted(app.tasks.items()) if not name.startswith("celery.")}


def make_patient(app: Celery) -> None:
    """Let nothing that this process asks of broker and result backend wait for long, and read nothing but JSON."""
    conf = app.conf
    conf.result_accept_content = ["json"]
    conf.broker_connection_timeout = min(conf.broker_connection_timeout or SOCKET_SECONDS, SOCKET_SECONDS)
    quick = {"max_retries": 1, "interval_start": 0.0, "interval_step": 0.1, "interval_max": 0.1}
    sockets = {"socket_timeout": SOCKET_SECONDS, "socket_connect_timeout": SOCKET_SECONDS}
    over_redis = str(conf.broker_url or "").startswith(("redis", "rediss", "sentinel"))
    conf.broker_transport_options = {
        **(conf.broker_transport_options or {}), **quick, **(sockets if over_redis else {})
    }  # fmt: skip
    conf.redis_socket_timeout = conf.redis_socket_connect_timeout = SOCKET_SECONDS
    conf.result_backend_transport_options = {**(conf.result_backend_transport_options or {}), "retry_policy": quick}
    conf.result_backend_always_retry = False


def keeps_results(app: Celery) -> bool:
    """Tell whether any process can read a result, not only the one that asked for it."""
    return not isinstance(app.backend, RPCBackend)


def _unfit(app: Celery) -> str | None:
    if isinstance(app.backend, DisabledBackend):
        return "it has no result backend, so nobody could hear how its tasks end; set result_backend"
    if app.conf.task_always_eager:
        return "with task_always_eager its tasks would run inside this server; take that setting out"
    if app.conf.result_serializer != "json":
        return f"its results are written as {app.conf.result_serializer}; only JSON is read: result_serializer = 'json'"
    if not {"json", "application/json"} & set(app.conf.accept_content):
        return "its workers do not take JSON; add it to accept_content"
    return None
