"""Every setting of a node: one frozen record, layered from flags, OFFLOAD_ variables, offload.toml and defaults."""

import dataclasses
import difflib
import fnmatch
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from offload.core.admission import Capacity
from offload.core.errors import WrongSetting
from offload.core.quantities import show_seconds
from offload.settings.spec import BYTES, COUNT, DIRECTORY, FLAG, NAMES, PREFIX, SECONDS, TEXT, URL, Spec, declare

CONFIG_NAME = "offload.toml"
NOT_SETTINGS = frozenset({"OFFLOAD_CONFIG", "OFFLOAD_URL", "OFFLOAD_API_KEY"})
"""Variables of the command line client and of the place of the file itself."""
CHILD_ENV_ALWAYS = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_*", "TZ", "TMPDIR", "TERM", "PYTHON*", "VIRTUAL_ENV",
    "LD_LIBRARY_PATH", "SSL_CERT_*", "XDG_*", "CUDA_*", "NVIDIA_*", "OMP_*", "OPENBLAS_*", "MKL_*",
    "NUMEXPR_*", "HF_HOME", "TORCH_*",
)  # fmt: skip
"""What every worker process inherits of the server's environment; secrets are handed on only by name."""


def _usable_cpus() -> int:
    counted = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return counted or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a node runs with; built wrong, it raises WrongSetting that names every mistake."""

    # fmt: off
    jobs: str = declare("", "the file or module that holds the jobs", TEXT)
    host: str = declare("127.0.0.1", "the address to listen on; beyond loopback only once there are keys", TEXT)
    port: int = declare(8000, "the port to listen on; 0 takes a free one", COUNT, least=0, most=65535)
    workers: int = declare(
        _usable_cpus, "worker processes for jobs that do not say their own; 0: none at all, other nodes work", COUNT,
        least=0, most=1024, default_text="one per CPU")
    only_queues: tuple[str, ...] = declare(
        (), "run the tasks of these queues only, such as images,mail; those of others are for other nodes", NAMES)
    data: Path = declare(Path(".offload"), "the directory of the database and the files", DIRECTORY)
    store: str = declare(
        "", "where tasks are kept: sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE", URL,
        default_text="offload.sqlite in the data directory")
    broker: str = declare(
        "native", "what tells nodes of ready tasks: native, or a URL of RabbitMQ, Redis or SQS", URL)
    amqp_workers: str = declare(
        "", "the RabbitMQ where workers that speak AMQP get the tasks of external jobs", URL)
    public_url: str = declare(
        "", "where workers and clients elsewhere reach this server, such as https://tasks.example.com", TEXT)

    blobs: str = declare(
        "", "where files are kept: file:///path, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix", TEXT,
        default_text="in the data directory")
    blob_cache_bytes: int = declare(
        10 * 1024**3, "how much of an object store's files is kept on this node for its workers", BYTES, least=1)
    blob_redirect_min_bytes: int | None = declare(
        None, "send clients to the object store itself for files of this size and more", BYTES, least=0)
    blob_link_seconds: float = declare(
        300.0, "how long a link into the object store works", SECONDS, least=1, most=7 * 86_400)

    queue_tasks_max: int = declare(10_000, "how many unfinished tasks a queue may hold", COUNT, least=1)
    queue_bytes_max: int = declare(4 * 1024**3, "how many bytes of input a queue may hold", BYTES, least=1)
    queue_wait_seconds_max: float | None = declare(
        None, "refuse new tasks when they would wait longer than this", SECONDS, least=0)
    queue_full_status: int = declare(503, "the HTTP status of QueueFull", COUNT, choices=(503, 429))

    payload_seconds: float = declare(
        7 * 86400.0, "how long input, result and logs are kept after the end", SECONDS, least=0)
    audit_seconds: float = declare(90 * 86400.0, "how long the row of a task is kept after the end", SECONDS, least=0)
    file_seconds: float = declare(86400.0, "how long an uploaded file that no task names is kept", SECONDS, least=0)
    key_seconds: float = declare(86400.0, "how long an Idempotency-Key is remembered", SECONDS, least=0)

    lease_seconds: float = declare(
        30.0, "how long a task is held without a sign of life from its node", SECONDS, least=1)
    heartbeat_seconds: float = declare(5.0, "how often leases are renewed", SECONDS, least=0.1)
    sweep_seconds: float = declare(5.0, "how often lost leases and passed deadlines are looked for", SECONDS, least=0.1)
    grace_seconds: float = declare(25.0, "how long running tasks may go on when the server stops", SECONDS, least=0)

    job_timeout_seconds: float | None = declare(
        3600.0, "the time limit of a job that does not say its own", SECONDS, least=0.001)
    job_grace_seconds: float = declare(5.0, "the time between asking a job to stop, TERM and KILL", SECONDS, least=0)
    memory_bytes: int | None = declare(
        None, "the memory limit of a job that does not say its own", BYTES, least=1024**2)
    recycle_tasks: int | None = declare(None, "replace a worker after this many tasks", COUNT, least=1)
    recycle_memory_bytes: int | None = declare(
        None, "replace a worker between tasks when it holds more than this", BYTES, least=1024**2)
    nice: int = declare(10, "how far workers step back from the CPU for the server", COUNT, least=0, most=19)
    child_env: tuple[str, ...] = declare(
        (), "variables that workers inherit besides the ordinary ones; * for all", NAMES)

    result_bytes_max: int = declare(1024**3, "how large a result may be", BYTES, least=1)
    log_bytes_max: int = declare(256 * 1024, "how much log of an attempt is kept", BYTES, least=0)
    json_bytes_max: int = declare(1024**2, "how large a JSON body may be", BYTES, least=1)
    upload_bytes_max: int = declare(5 * 1024**3, "how large an uploaded body may be", BYTES, least=1)
    wait_max_seconds: float = declare(60.0, "how long `Prefer: wait` is honoured at most", SECONDS, least=0)
    disk_free_min_bytes: int = declare(
        256 * 1024**2, "refuse new tasks when the disk has less room than this", BYTES, least=0)
    durability: str = declare(
        "full", "full: a 202 survives a power cut; relaxed: it may not", TEXT, choices=("full", "relaxed"))

    callbacks_at_once_max: int = declare(1024, "how many callbacks are sent at the same time", COUNT, least=1)
    fetches_at_once_max: int = declare(
        16, "how many input files are fetched by URL at the same time", COUNT, least=1, most=1024)
    fetch_max_seconds: float = declare(
        600.0, "how long an input file may take to come from its URL, tries included", SECONDS, least=1)
    upload_tries_max: int = declare(
        5, "how often a result is pushed to its `upload_to` before the task FAILS", COUNT, least=1, most=100)
    upload_max_seconds: float = declare(600.0, "how long one push of a result may take", SECONDS, least=1)
    egress_allow: tuple[str, ...] = declare(
        (), "private networks and hosts that URLs of clients may lead to, such as 10.2.0.0/16,partner.internal", NAMES)
    egress_https_only: bool = declare(False, "whether URLs of clients must begin with https://", FLAG)
    egress_ca_file: Path | None = declare(
        None, "certificates to trust for URLs of clients, besides the machine's own", DIRECTORY)

    celery: str = declare(
        "", "a Celery application whose tasks become jobs too, as for `celery -A`, such as proj.app", TEXT)
    celery_at_once_max: int | None = declare(
        None, "how many tasks of a queue are handed to Celery at a time; by itself, what its workers have room for",
        COUNT, least=1)
    celery_lost_seconds: float = declare(
        30.0, "how long nobody may have a task that was handed to Celery before it counts as lost", SECONDS, least=5)

    slow: tuple[str, ...] = declare(
        (), "for wrap and proxy: routes that always run as tasks, such as /transcribe,POST /render/*,/report=2",
        NAMES)
    prefix: str = declare(
        "", "for wrap and proxy: the path below which offload's own routes are, such as /offload", TEXT)

    hosts: tuple[str, ...] = declare((), "names besides the loopback ones that a Host header may have", NAMES)
    streams_per_client_max: int = declare(
        2_500, "how many event streams one key, or without keys one address, may have open", COUNT, least=1)
    connections_per_address_max: int = declare(
        5_000, "how many connections one address may have open", COUNT, least=1)
    metrics_open: bool = declare(False, "whether /metrics needs no key when there are keys", FLAG)
    log_level: str = declare("info", "how much the server logs", TEXT, choices=("debug", "info", "warning", "error"))
    trace_to: str = declare(
        "", "the OpenTelemetry collector that gets spans by OTLP over HTTP, such as http://127.0.0.1:4318", TEXT)
    log_format: str = declare("console", "how the server logs, on standard error", TEXT, choices=("console", "json"))
    # fmt: on

    queues: Mapping[str, Capacity] = field(default_factory=dict)
    """Queues with a capacity of their own, from [queues.NAME] in offload.toml."""
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """Where each value that is no default came from."""

    def __post_init__(self) -> None:
        problems = [
            f"{_where(self, spec.name)}: {wrong}"
            for spec in SPECS.values()
            if (wrong := spec.wrong(getattr(self, spec.name)))
        ]
        if problems := problems or list(_contradictions(self)):
            raise WrongSetting("\n".join(problems))

    def capacity(self, queue: str) -> Capacity:
        """Return how much a queue may hold."""
        default = Capacity(
            tasks_max=self.queue_tasks_max,
            bytes_max=self.queue_bytes_max,
            wait_seconds_max=self.queue_wait_seconds_max,
        )
        return self.queues.get(queue, default)

    def child_environ(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the part of the server's environment that worker processes may see; never its own settings."""
        patterns = (*CHILD_ENV_ALWAYS, *self.child_env)
        return {
            name: value for name, value in environ.items()
            if not name.startswith(PREFIX) and any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
        }  # fmt: skip


SPECS: Mapping[str, Spec] = {
    item.name: Spec(name=item.name, optional="None" in str(item.type), **item.metadata)
    for item in dataclasses.fields(Settings)
    if item.metadata
}
"""Every setting that a flag, a variable or a line of offload.toml can give, in the order of the documentation."""


def load_settings(
    *, flags: Mapping[str, str], environ: Mapping[str, str], cwd: Path, config: Path | None = None
) -> Settings:
    """Return what flags, then OFFLOAD_ variables, then offload.toml, then defaults say, or raise WrongSetting."""
    layers = _Layers()
    _add_file(layers, config or (Path(environ["OFFLOAD_CONFIG"]) if environ.get("OFFLOAD_CONFIG") else None), cwd)
    known = {spec.env: spec.name for spec in SPECS.values()}
    for variable in sorted(environ):
        if variable.startswith(PREFIX) and variable not in NOT_SETTINGS:
            layers.add(known.get(variable), environ[variable], where=variable, near=(variable, known), base=cwd)
    for name, text in flags.items():
        flag = "--" + name.replace("_", "-")
        layers.add(name if name in SPECS else None, text, where=flag, near=(flag, flag_names()), base=cwd)
    layers.values.setdefault("data", cwd / ".offload")
    if layers.problems:
        raise WrongSetting("\n".join(layers.problems))
    return _with_queues(layers)


def flag_names() -> list[str]:
    """Return every flag that is a setting."""
    return [spec.flag for spec in SPECS.values() if spec.name != "jobs"]


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?" when something known is close to what was given, else nothing."""
    close = difflib.get_close_matches(given, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


@dataclass(slots=True)
class _Layers:
    """What the layers said so far: a later one replaces an earlier one."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    queues: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, name: str | None, value: object, *, where: str, near: tuple[str, Iterable[str]], base: Path) -> None:
        if name is None:
            self.problems.append(f"{where}: there is no such setting{did_you_mean(*near)}")
            return
        try:
            read = SPECS[name].read(value)
        except ValueError as error:
            self.problems.append(f"{where}: {error}")
            return
        self.values[name] = base / read if isinstance(read, Path) else read
        self.sources[name] = where


def _add_file(layers: _Layers, config: Path | None, cwd: Path) -> None:
    path = cwd / (config or CONFIG_NAME)
    if config is None and not path.exists():
        return
    try:
        text = path.read_text("utf-8")
        table = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WrongSetting(f"{path}: cannot be read: {error}") from None
    for key, value in table.items():
        where = f"{path.name}{_line_of(key, text)}: {key}"
        if key == "queues":
            _add_queues(layers, value, path.name, text)
        else:
            layers.add(
                key if key in SPECS else None, value, where=where, near=(key, [*SPECS, "queues"]), base=path.parent
            )


_QUEUE_KEYS = {
    "tasks_max": "queue_tasks_max",
    "bytes_max": "queue_bytes_max",
    "wait_seconds_max": "queue_wait_seconds_max",
}


def _add_queues(layers: _Layers, tables: object, file_name: str, text: str) -> None:
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        layers.problems.append(f"{file_name}: queues: write a table for each queue, as in [queues.images]")
        return
    for queue, table in tables.items():
        for key, value in table.items():
            where = f"{file_name}{_line_of(key, text, section=f'queues.{queue}')}: [queues.{queue}] {key}"
            if key not in _QUEUE_KEYS:
                layers.problems.append(f"{where}: there is no such setting{did_you_mean(key, _QUEUE_KEYS)}")
                continue
            spec = SPECS[_QUEUE_KEYS[key]]
            try:
                read = spec.read(value)
                problem = spec.wrong(read)
            except ValueError as error:
                problem = str(error)
            if problem:
                layers.problems.append(f"{where}: {problem}")
            else:
                layers.queues.setdefault(queue, {})[key] = read
                layers.sources[f"queues.{queue}.{key}"] = where


def _line_of(key: str, text: str, section: str = "") -> str:
    """Return ", line 3" for people; TOML readers do not keep it, so look for the line that begins like that."""
    inside = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\s*([^\]]+?)\s*\]", line):
            inside = header[1].replace('"', "")
        if inside == section and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return f", line {number}"
        if inside == key and not section and header:
            return f", line {number}"
    return ""


def _with_queues(layers: _Layers) -> Settings:
    settings = Settings(**layers.values, sources=layers.sources)
    queues = {}
    for queue, own in layers.queues.items():
        every = {name: getattr(settings, wide) for name, wide in _QUEUE_KEYS.items()}
        queues[queue] = Capacity(**{**every, **own})
    return dataclasses.replace(settings, queues=queues)


def _where(settings: Settings, name: str) -> str:
    return settings.sources.get(name, name)


def _contradictions(settings: Settings) -> Iterable[str]:
    if settings.amqp_workers and not settings.public_url:
        yield (
            f"{_where(settings, 'amqp_workers')}: needs public_url, such as https://tasks.example.com: "
            "the messages say where workers read inputs and bring results"
        )
    if settings.public_url and not re.fullmatch(r"https?://[^/?#\s@]+(/[^?#\s]*)?", settings.public_url):
        yield f"{_where(settings, 'public_url')}: write http:// or https://, a host, and perhaps a path"
    lease, heartbeat = settings.lease_seconds, settings.heartbeat_seconds
    audit, payload = show_seconds(settings.audit_seconds), show_seconds(settings.payload_seconds)
    if heartbeat * 2 > lease:
        yield (
            f"{_where(settings, 'heartbeat_seconds')}: {heartbeat:g} s is more than half of lease_seconds "
            f"({lease:g} s): one late renewal would lose every running task"
        )
    if settings.audit_seconds < settings.payload_seconds:
        yield (
            f"{_where(settings, 'audit_seconds')}: {audit} is less than payload_seconds ({payload}): "
            "the row of a task outlives its payload"
        )
