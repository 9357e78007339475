"""Wires a node together: the only place where an adapter has a name."""

import asyncio
import importlib
import logging
import os
import random
import resource
import secrets
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

from starlette.types import ASGIApp

from offload import others
from offload.blobs.identity import identity
from offload.blobs.opening import CacheLimits, Opened, open_blobs
from offload.brokers.address import address_of
from offload.clock import SteadyClock
from offload.core.catalog import Catalog
from offload.core.errors import WrongSetting
from offload.core.promises import Promises, accepted_with
from offload.core.ring import KEYS
from offload.crew import crew, jobs_of
from offload.egress import Door
from offload.engine.deliverer import Deliverer, Pace
from offload.engine.engine import Engine
from offload.engine.gate import Gate
from offload.engine.hub import Hub
from offload.engine.keyring import Keyring
from offload.engine.parts import Fetching, Lending, Parts, Timing, Uploading
from offload.engine.ringer import Ringer
from offload.engine.scheduler import Scheduler
from offload.engine.stats import Stats
from offload.engine.traffic import Traffic
from offload.http.app import make_app, make_small_app
from offload.http.config import HttpConfig
from offload.http.telling import render
from offload.loading import MADE
from offload.ports.broker import Broker
from offload.ports.tracing import Tracer
from offload.ports.work_queue import WorkQueue
from offload.previews.pdf import PdfPreviews, library_folder
from offload.settings import Settings
from offload.storage import Storage, kind_of, open_storage

log = logging.getLogger("offload.node")

NATIVE = "native"
BROKERS = {
    "redis": ("redis", "RedisBroker"),
    "rediss": ("redis", "RedisBroker"),
    "amqp": ("rabbitmq", "RabbitBroker"),
    "amqps": ("rabbitmq", "RabbitBroker"),
    "sqs": ("sqs", "SqsBroker"),
}
"""By what a broker's URL begins with: its module, which is the name of its extra as well, and its class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One running offload process: its engine, and the HTTP front over it."""

    engine: Engine
    app: ASGIApp
    http: HttpConfig
    catalog: Catalog
    settings: Settings
    keyring: Keyring


@asynccontextmanager
async def node(settings: Settings, environ: Mapping[str, str], *, serves: bool = True) -> AsyncIterator[Node]:
    """Start a node; leaving drains it: attempts run until the grace ends, the rest is given back.

    One that does not serve has a small HTTP interface, and must share its store with others that do.
    """
    catalog, clock = jobs_of(settings), SteadyClock()
    data = settings.data.absolute()
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        storage = await stack.enter_async_context(open_storage(settings, node=name))
        store, ringer = storage.store, _ringer(storage, serves)
        keyring = await _started_keyring(Keyring(store.keys, clock, ringer), stack)
        blobs, links = await _started_blobs(settings, environ, data, clock)
        traffic = Traffic({queue: settings.capacity(queue) for queue in catalog.queues}, clock)
        workers = await stack.enter_async_context(crew(settings, environ, catalog, clock, shares=not ringer.alone))
        parts = Parts(
            node=name,
            version=version("offload"),
            catalog=catalog,
            store=store,
            queues=store,
            files=store,
            deliveries=store.deliveries,
            nodes=storage.nodes,
            history=store.history,
            schedules=store.schedules,
            blobs=blobs,
            blob_links=links,
            previews=_previews(),
            workers=workers,
            egress=_door(settings),
            clock=clock,
            timing=_timing(settings),
            traffic=traffic,
            hub=Hub(store, ringer),
            ringer=ringer,
            stats=Stats(),
            tracer=_started_tracer(settings, environ, name, stack),
            serves=serves,
            files_at="" if ringer.alone else await asyncio.to_thread(_files_at, settings, data),
            chance=random.SystemRandom().random,
            fetching=_fetching(settings),
            uploading=Uploading(seconds_max=settings.upload_max_seconds, tries_max=settings.upload_tries_max),
            broker=await _started_broker(settings, name, stack),
            work_queue=await _started_work_queue(settings, name, stack),
            lending=_lending(settings),
            request_jobs=_request_jobs(settings, catalog),
            secret=keyring.secret,
        )
        engine, http = await _started(parts, keyring, clock, settings, stack)
        yield Node(
            engine=engine,
            app=(make_app if serves else make_small_app)(engine, http, keyring),
            http=http,
            catalog=catalog,
            settings=settings,
            keyring=keyring,
        )


@asynccontextmanager
async def keyring_alone(settings: Settings) -> AsyncIterator[Keyring]:
    """Open the keys of a store: of a database that is shared, or of a file that no server uses. Raise StoreInUse."""
    async with open_storage(settings, node=f"keys:{secrets.token_hex(4)}", patience=0.0) as storage:
        ringer = Ringer(storage.bell)
        keyring = Keyring(storage.store.keys, SteadyClock(), ringer)
        await keyring.load()
        await storage.bell.start(lambda ring: None)
        ringer.start()
        try:
            yield keyring
        finally:
            await ringer.stop()
            await storage.bell.stop()


async def _started(
    parts: Parts, keyring: Keyring, clock: SteadyClock, settings: Settings, stack: AsyncExitStack
) -> tuple[Engine, HttpConfig]:
    """Start all that acts, in the order in which it needs each other; it stops the other way round."""
    gate = Gate(parts.traffic, parts.blobs, disk_free_min_bytes=settings.disk_free_min_bytes)
    engine = Engine(parts, gate, clock)
    http = _http_config(settings, parts.catalog)
    said = partial(render, config=http, blobs=parts.blobs)
    deliverer = Deliverer(parts, engine.callbacks, said, _pace(settings))
    await deliverer.start()
    stack.push_async_callback(deliverer.stop)  # after the engine: what ends while that stops is told at once
    engine.neighbours.on({KEYS: keyring.load})
    await engine.start()
    stack.push_async_callback(engine.stop, settings.grace_seconds)
    scheduler = Scheduler(parts, engine, keyring)
    await scheduler.start(settings.jobs)
    stack.push_async_callback(scheduler.stop)
    return engine, http


def _ringer(storage: Storage, serves: bool) -> Ringer:
    if storage.bell.alone and not serves:
        raise WrongSetting("store: it is for a single node, which must serve; workers elsewhere need a shared one")
    return Ringer(storage.bell)


def _started_tracer(settings: Settings, environ: Mapping[str, str], name: str, stack: AsyncExitStack) -> Tracer | None:
    """Return what sends spans; it stops after everything that makes some. Raise WrongSetting."""
    if not settings.trace_to:
        return None
    if not settings.trace_to.startswith(("http://", "https://")):
        raise WrongSetting("trace_to: write the address of a collector, as in http://127.0.0.1:4318")
    try:
        from offload.tracing import SERVICE, OtelTracer, exporter_to
    except ImportError as error:
        raise WrongSetting('trace_to: needs packages that are not here: pip install "offload[otel]"') from error
    service = environ.get("OTEL_SERVICE_NAME") or SERVICE
    exporter = exporter_to(settings.trace_to, environ)
    tracer = OtelTracer(exporter, node=name, version=version("offload"), service=service)
    stack.push_async_callback(tracer.stop)
    return tracer


async def _started_keyring(keyring: Keyring, stack: AsyncExitStack) -> Keyring:
    await keyring.start()
    stack.push_async_callback(keyring.stop)
    return keyring


async def _started_broker(settings: Settings, name: str, stack: AsyncExitStack) -> Broker | None:
    broker = open_broker(settings.broker, node=name)
    if broker is not None:
        await broker.start()
        stack.push_async_callback(broker.stop)
    return broker


async def _started_work_queue(settings: Settings, name: str, stack: AsyncExitStack) -> WorkQueue | None:
    url = settings.amqp_workers
    if not url:
        return None
    if url.partition(":")[0] not in ("amqp", "amqps"):
        raise WrongSetting("amqp_workers: write a URL that begins with amqp:// or amqps://")
    module = _adapter("amqp_workers", name="amqp_work", extra="rabbitmq")
    queue: WorkQueue = module.AmqpWork(address_of(url, "amqp_workers"), node=name)
    await queue.start()
    stack.push_async_callback(queue.stop)
    return queue


def open_broker(url: str, *, node: str) -> Broker | None:
    """Return what a broker's URL means, None for `native`; nothing is connected yet. Raise WrongSetting."""
    if url == NATIVE:
        return None
    scheme = url.partition(":")[0]
    if opens := others.opener("broker", url):
        foreign: Broker = opens(url, node)
        return foreign
    if scheme not in BROKERS:
        known = ", ".join(f"{name}://" for name in BROKERS)
        raise WrongSetting(f"broker: write native, or a URL that begins with one of {known}")
    name, class_name = BROKERS[scheme]
    address = address_of(url)
    broker: Broker = getattr(_adapter("broker", name=name, extra=name), class_name)(address, node=node)
    return broker


def _adapter(setting: str, *, name: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(f"offload.brokers.{name}")
    except ModuleNotFoundError as error:
        lacks = f"{setting}: needs the package {error.name!r}, which is not installed"
        raise WrongSetting(f'{lacks}: pip install "offload[{extra}]"') from None


def _timing(settings: Settings) -> Timing:
    return Timing(
        lease_seconds=settings.lease_seconds,
        heartbeat_seconds=settings.heartbeat_seconds,
        sweep_seconds=settings.sweep_seconds,
        payload_seconds=settings.payload_seconds,
        audit_seconds=settings.audit_seconds,
        key_seconds=settings.key_seconds,
        file_seconds=settings.file_seconds,
    )


def _lending(settings: Settings) -> Lending:
    return Lending(
        timeout_seconds=settings.job_timeout_seconds,
        result_bytes_max=settings.result_bytes_max,
        log_bytes_max=settings.log_bytes_max,
        public_url=settings.public_url.rstrip("/"),
    )


def _fetching(settings: Settings) -> Fetching:
    return Fetching(
        at_once_max=settings.fetches_at_once_max,
        bytes_max=settings.upload_bytes_max,
        seconds_max=settings.fetch_max_seconds,
    )


def _previews() -> PdfPreviews | None:
    """Return what draws previews, if its package is here: without it everything else goes on."""
    folder = library_folder()
    return None if folder is None else PdfPreviews(folder)


def _door(settings: Settings) -> Door:
    return Door(allow=settings.egress_allow, https_only=settings.egress_https_only, ca_file=settings.egress_ca_file)


def _pace(settings: Settings) -> Pace:
    """Leave most of the sockets that this process may open to its clients."""
    open_files_max, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = settings.callbacks_at_once_max
    return Pace(at_once_max=most if open_files_max < 0 else max(16, min(most, open_files_max // 4)))


async def _started_blobs(settings: Settings, environ: Mapping[str, str], data: Path, clock: SteadyClock) -> Opened:
    """Raise WrongSetting, also when links are asked for that the store cannot give."""
    limits = CacheLimits(bytes_max=settings.blob_cache_bytes)
    opens = others.opener("blobs", settings.blobs)
    opened = Opened(opens(settings.blobs, data)) if opens else open_blobs(settings.blobs, data, limits, environ, clock)
    if settings.blob_redirect_min_bytes is not None and opened.links is None:
        raise WrongSetting(
            "blob_redirect_min_bytes: these blobs give no links; they need to be in S3, with AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY in the environment"
        )
    await opened.blobs.start()
    return opened


def _files_at(settings: Settings, data: Path) -> str:
    return others.bare(settings.blobs) if others.is_known("blobs", settings.blobs) else identity(settings.blobs, data)


def _http_config(settings: Settings, catalog: Catalog) -> HttpConfig:
    return HttpConfig(
        redirect_min_bytes=settings.blob_redirect_min_bytes,
        blob_link_seconds=settings.blob_link_seconds,
        json_bytes_max=settings.json_bytes_max,
        upload_bytes_max=settings.upload_bytes_max,
        wait_seconds_max=settings.wait_max_seconds,
        queue_full_status=settings.queue_full_status,
        hosts=(*settings.hosts, *_own_names(settings.host)),
        metrics_open=settings.metrics_open,
        streams_per_client_max=settings.streams_per_client_max,
        connections_per_address_max=settings.connections_per_address_max,
        prefix=settings.prefix if settings.jobs.startswith(MADE) else "",
        request_jobs=_request_jobs(settings, catalog),
        promises=_promises(settings),
    )


def _request_jobs(settings: Settings, catalog: Catalog) -> frozenset[str]:
    """Return the jobs of a wrapped application, none where nothing is wrapped."""
    return frozenset(catalog.jobs) if settings.jobs.startswith(MADE) else frozenset()


def _promises(settings: Settings) -> Promises:
    kind, scheme = kind_of(settings), settings.broker.partition(":")[0]
    return Promises(
        store=kind,
        durability=settings.durability,
        broker=BROKERS[scheme][0] if scheme in BROKERS else scheme,
        blobs=settings.blobs.partition(":")[0] or "file",
        accepted=accepted_with(kind, settings.durability),
        recovery_seconds_max=settings.lease_seconds + settings.sweep_seconds,
        limits={
            name: value
            for name in ("json_bytes_max", "upload_bytes_max", "result_bytes_max", "queue_tasks_max", "queue_bytes_max",
                         "wait_max_seconds", "job_timeout_seconds", "log_bytes_max")
            if (value := getattr(settings, name)) is not None
        },
        retention={
            name: getattr(settings, name)
            for name in ("payload_seconds", "audit_seconds", "file_seconds", "key_seconds")
        },
    )  # fmt: skip


def _own_names(host: str) -> tuple[str, ...]:
    """Return what a Host header may say besides the loopback names: the address itself, unless it is every address."""
    bare = host.strip("[]")
    if bare in ("0.0.0.0", "::", ""):
        return ()
    return (f"[{bare}]" if ":" in bare else bare,)
