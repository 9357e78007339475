"""Who may import whom: the arrows of docs/architecture.md as data, and what checks them."""

import sys
from collections.abc import Iterable, Iterator, Mapping

from tests.tidy.tree import Module, imports

EVERYTHING = "offload"

MAY_IMPORT: Mapping[str, tuple[str, ...]] = {
    # the longest name that fits a module is its room; a room may always import itself, unless it is marked alone below
    "offload.core": (),
    "offload.ports": ("offload.core",),
    "offload.clock": ("offload.core", "offload.ports"),
    "offload.loading": ("offload.core",),
    "offload.settings": ("offload.core",),
    "offload.engine": ("offload.core", "offload.ports"),
    "offload.stores.migrate": ("offload.core",),
    "offload.stores.memory": (
        "offload.core", "offload.ports", "offload.stores.memory_deliveries", "offload.stores.memory_history",
        "offload.stores.memory_keys", "offload.stores.memory_schedules",
    ),
    "offload.stores.memory_deliveries": ("offload.core", "offload.ports"),
    "offload.stores.memory_history": ("offload.core", "offload.ports"),
    "offload.stores.memory_keys": ("offload.core", "offload.ports"),
    "offload.stores.memory_schedules": ("offload.core", "offload.ports"),
    "offload.stores.memory_nodes": ("offload.core", "offload.ports"),
    "offload.stores.sqlite": ("offload.core", "offload.ports", "offload.stores.migrate"),
    "offload.stores.postgres": ("offload.core", "offload.ports", "offload.stores.migrate"),
    # which store the settings name, and what belongs to it
    "offload.storage": (
        "offload.core", "offload.ports", "offload.settings", "offload.stores", "offload.bells", "offload.others",
    ),
    # adapters of others, by the scheme of a URL
    "offload.others": ("offload.core",),
    # which workers a node has
    "offload.crew": (
        "offload.core", "offload.ports", "offload.loading", "offload.settings", "offload.workers",
        "offload.own_directory", "offload.celery",
    ),
    "offload.celery": ("offload.core", "offload.ports"),
    "offload.own_directory": (),
    "offload.blobs": ("offload.core", "offload.ports", "offload.own_directory"),
    "offload.brokers": ("offload.core", "offload.ports"),
    "offload.egress": ("offload.core", "offload.ports"),
    "offload.previews": ("offload.core", "offload.ports"),
    # a process of its own, which could not import anything of ours
    "offload.previews.draw": (),
    "offload.bells": ("offload.core", "offload.ports"),
    "offload.workers": ("offload.core", "offload.ports"),
    # the side that runs in the child process, beside user code
    "offload.workers.child": ("offload.core", "offload.loading", "offload.workers"),
    "offload.workers.context": ("offload.core", "offload.loading", "offload.workers"),
    "offload.workers.protocol": ("offload.core", "offload.loading", "offload.workers"),
    "offload.http": ("offload.core", "offload.ports", "offload.engine", "offload.settings"),
    "offload.client": ("offload.core.errors", "offload.core.schedule_errors", "offload.core.plain"),
    "offload.testing": ("offload.core",),
    "offload.compose": (
        "offload.core", "offload.ports", "offload.clock", "offload.loading", "offload.settings", "offload.engine",
        "offload.stores", "offload.bells", "offload.blobs", "offload.egress", "offload.workers", "offload.http",
        "offload.brokers", "offload.others", "offload.storage", "offload.telemetry", "offload.tracing", "offload.crew",
        "offload.previews",
    ),
    # how a wrapped application is called: in the server, and in its worker processes
    "offload.wrap.apps": ("offload.core", "offload.loading"),
    "offload.wrap": (
        "offload.core", "offload.ports", "offload.loading", "offload.settings", "offload.engine", "offload.http",
        "offload.compose",
    ),
    "offload.tracing": ("offload.core", "offload.ports"),
    "offload.telemetry": ("offload.core", "offload.ports", "offload.settings"),
    # the promises of the ports as tests; nothing imports it
    "offload.conformance": (
        "offload.core", "offload.ports", "offload.engine", "offload.clock", "offload.bells", "offload.egress",
        "offload.blobs.local", "offload.brokers.memory", "offload.stores.memory", "offload.stores.memory_nodes",
    ),
    "offload.cli": (EVERYTHING,),
    "offload.__main__": ("offload.cli",),
    # the public names: the package itself, in src/offload/__init__.py
    "offload": ("offload.core", "offload.workers.context", "offload.client"),
}  # fmt: skip

MAY_USE: Mapping[str, tuple[str, ...]] = {
    # packages from outside, beside the standard library; a room that is not named here may use any
    "offload.core": ("pydantic", "pydantic_core", "msgspec", "annotated_types", "typing_extensions"),
    "offload.ports": ("msgspec",),
    "offload.clock": (),
    "offload.loading": (),
    "offload.engine": ("msgspec", "structlog"),
    "offload.stores.memory": ("msgspec",),
    "offload.stores.memory_deliveries": ("msgspec",),
    "offload.stores.memory_history": (),
    "offload.stores.memory_keys": ("msgspec",),
    "offload.stores.memory_nodes": (),
    "offload.stores.sqlite": ("apsw", "msgspec", "structlog"),
    "offload.stores.postgres": ("asyncpg", "msgspec"),
    "offload.storage": (),
    "offload.others": (),
    "offload.bells": (),
    "offload.brokers": ("msgspec",),
    "offload.brokers.redis": ("redis",),
    "offload.own_directory": (),
    "offload.brokers.sqs": ("aiobotocore", "aiohttp", "botocore", "msgspec"),
    "offload.brokers.rabbitmq": ("aio_pika", "msgspec"),
    "offload.brokers.amqp_work": ("aio_pika",),
    "offload.brokers.amqp_link": ("aio_pika", "yarl"),
    "offload.egress": ("aiohttp", "yarl", "idna"),
    "offload.previews": ("msgspec",),
    "offload.previews.draw": ("pypdfium2",),
    "offload.workers": ("msgspec", "psutil", "structlog", "pydantic"),
    "offload.workers.child": ("msgspec", "pydantic"),
    "offload.workers.context": ("msgspec", "pydantic"),
    "offload.workers.protocol": ("msgspec",),
    "offload.celery": ("amqp", "celery", "kombu", "msgspec"),
    "offload.celery.limits": (),
    "offload.conformance": ("hypothesis", "msgspec", "pytest"),
    "offload.client": ("httpx2", "msgspec", "rich"),
    "offload.testing": (),
    "offload.tracing": ("opentelemetry",),
    "offload.wrap.apps": ("aiohttp", "msgspec", "yarl"),
}


def room(name: str, rooms: Iterable[str] = MAY_IMPORT) -> str | None:
    """Return the room that a module is in: the longest name that fits."""
    fitting = [each for each in rooms if _within(name, each) and (each != EVERYTHING or name == EVERYTHING)]
    return max(fitting, key=len, default=None)


def wrong_arrows(of: Module, known: frozenset[str]) -> Iterator[str]:
    """Say which imports of a module point where no arrow does."""
    home = room(of.name)
    if home is None:
        if of.path.endswith("/__init__.py"):
            return  # an empty package around rooms
        yield f"{of.path}: in no room; give it one in tests/tidy/layers.py and in docs/architecture.md"
        return
    for node, target in imports(of, known):
        if target.partition(".")[0] != "offload":
            yield from _wrong_part(of, target, of.at(node))
        elif not _within(target, home) and not any(_within(target, each) for each in MAY_IMPORT[home]):
            allowed = ", ".join(MAY_IMPORT[home]) or "nothing else of ours"
            yield f"{of.at(node)}: {of.name} imports {target}, but {home} may import only itself and {allowed}"


def cycle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Return one import cycle as the names along it, or nothing."""
    done: set[str] = set()

    def walk(name: str, trail: list[str]) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name in done:
            return []
        for target in graph.get(name, ()):
            if found := walk(target, [*trail, name]):
                return found
        done.add(name)
        return []

    for start in graph:
        if found := walk(start, []):
            return found
    return []


def _wrong_part(of: Module, target: str, place: str) -> Iterator[str]:
    outside = target.partition(".")[0]
    home = room(of.name, MAY_USE)
    if home is None or outside in sys.stdlib_module_names or outside in MAY_USE[home]:
        return
    allowed = ", ".join(("the standard library", *MAY_USE[home]))
    yield f"{place}: {of.name} imports {outside}, but {home} may use only {allowed}"


def _within(name: str, outer: str) -> bool:
    return name == outer or name.startswith(outer + ".")
