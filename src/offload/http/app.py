"""The routes, on one screen, and the application that serves them."""

from collections.abc import Mapping

from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from offload.core.errors import NotAvailable
from offload.engine.engine import Engine
from offload.engine.keyring import Keyring
from offload.http import (
    callbacks,
    creations,
    events,
    file_links,
    files,
    jobs,
    keys,
    leases,
    metrics,
    nodes,
    operations,
    overview,
    pages,
    previews,
    results,
    schedules,
    sessions,
    tasks,
)
from offload.http.access import Guard
from offload.http.call import Call
from offload.http.config import HttpConfig
from offload.http.front import Endpoint, Front, Methods, nowhere


def make_app(engine: Engine, config: HttpConfig, keyring: Keyring) -> ASGIApp:
    """Return the ASGI application over an engine and a keyring that somebody else starts and stops."""
    guard = Guard(config, engine.clock)
    return Front(router_of(ROUTES, guard), engine, config, keyring=keyring, guard=guard, submit=jobs.submit)


def make_small_app(engine: Engine, config: HttpConfig, keyring: Keyring) -> ASGIApp:
    """Return the application of a node that works for others: how it is, and nothing to submit."""
    guard = Guard(config, engine.clock)
    routes = {path: ROUTES[path] for path in SMALL}
    return Front(router_of(routes, guard), engine, config, keyring=keyring, guard=guard, submit=elsewhere)


async def elsewhere(call: Call) -> Response:
    raise NotAvailable("this node only works: submit to a node that was started with `offload serve`")


def router_of(routes: Mapping[str, Mapping[str, Endpoint]], guard: Guard) -> Router:
    """Return what finds the endpoint of a request, past the guard."""
    found = [Route(path, Methods(path, methods, guard)) for path, methods in routes.items()]
    return Router(found, redirect_slashes=False, default=nowhere)


ROUTES: dict[str, dict[str, Endpoint]] = {
    "/v1/jobs": {"GET": jobs.list_jobs},
    "/v1/jobs/{job}": {"GET": jobs.get_job, "POST": jobs.submit},
    "/v1/tasks": {"GET": tasks.list_tasks, "POST": creations.create_task},
    "/v1/tasks/batch": {"POST": creations.create_batch},
    "/v1/tasks/{id}": {"GET": tasks.get_task, "PUT": creations.put_task, "DELETE": tasks.delete_task},
    "/v1/tasks/{id}/run": {"POST": tasks.run_task},
    "/v1/tasks/{id}/status": {"GET": tasks.get_status},
    "/v1/tasks/{id}/result": {"GET": results.get_result},
    "/v1/tasks/{id}/input/{name}": {"GET": results.get_input},
    "/v1/tasks/{id}/result/preview": {"GET": previews.get_result_preview},
    "/v1/tasks/{id}/input/{name}/preview": {"GET": previews.get_input_preview},
    "/v1/tasks/{id}/events": {"GET": events.get_events},
    "/v1/tasks/{id}/logs": {"GET": results.get_logs},
    "/v1/tasks/{id}/links": {"POST": keys.create_links},
    "/v1/tasks/{id}/cancel": {"POST": tasks.cancel_task},
    "/v1/tasks/{id}/retry": {"POST": tasks.retry_task},
    "/v1/files": {"POST": files.create_file},
    "/v1/files/links": {"POST": file_links.create_link},
    "/v1/files/{id}/confirm": {"POST": file_links.confirm_upload},
    "/v1/queues": {"GET": operations.list_queues},
    "/v1/queues/{queue}": {"GET": operations.get_queue},
    "/v1/queues/{queue}/pause": {"POST": operations.pause_queue},
    "/v1/queues/{queue}/resume": {"POST": operations.resume_queue},
    "/v1/callbacks": {"GET": callbacks.list_callbacks},
    "/v1/callbacks/{id}/replay": {"POST": callbacks.replay_callback},
    "/v1/callbacks/test": {"POST": callbacks.test_callback},
    "/v1/callbacks/secret": {"GET": callbacks.get_secret},
    "/v1/callbacks/secret/rotate": {"POST": callbacks.rotate_secret},
    "/v1/keys": {"GET": keys.list_keys, "POST": keys.create_key},
    "/v1/keys/{id}": {"DELETE": keys.revoke_key},
    "/v1/schedules": {"GET": schedules.list_schedules},
    "/v1/schedules/{name}": {
        "GET": schedules.get_schedule,
        "PUT": schedules.put_schedule,
        "DELETE": schedules.delete_schedule,
    },
    "/v1/leases": {"POST": leases.lease},
    "/v1/leases/{lease}/heartbeat": {"POST": leases.beat},
    "/v1/leases/{lease}/log": {"POST": leases.log},
    "/v1/leases/{lease}/done": {"POST": leases.done},
    "/v1/leases/{lease}/failed": {"POST": leases.failed},
    "/v1/leases/{link}/input/{name}": {"GET": leases.get_input},
    "/v1/leases/{link}/result": {"PUT": leases.put_result},
    "/v1/leases/{link}/result/failed": {"POST": leases.failed_by_link},
    "/v1/session": {"GET": sessions.get_session, "POST": sessions.sign_in, "DELETE": sessions.sign_out},
    "/v1/overview": {"GET": overview.get_overview},
    "/v1/overview/events": {"GET": overview.get_overview_events},
    "/v1/promises": {"GET": overview.get_promises},
    "/v1/nodes": {"GET": nodes.list_nodes},
    "/healthz": {"GET": operations.is_alive},
    "/readyz": {"GET": operations.is_ready},
    "/metrics": {"GET": metrics.get_metrics},
    "/openapi.json": {"GET": pages.get_openapi},
    "/": {"GET": pages.get_landing},
    "/docs": {"GET": pages.get_docs},
    "/docs/{name}": {"GET": pages.get_asset},
    "/client.js": {"GET": pages.get_client},
    "/client.d.ts": {"GET": pages.get_client},
    "/client/{name}": {"GET": pages.get_client},
    "/dashboard/{name}": {"GET": pages.get_dashboard},
}

SMALL = ("/healthz", "/readyz", "/metrics", "/v1/nodes")
