"""What Prometheus reads: the engine's counters and the queues, taken when it asks; all labels are bounded."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.responses import Response

from offload.engine.condition import BrokerState
from offload.engine.stats import BOUNDS_SECONDS, Spread, Stats
from offload.engine.traffic import QueueView
from offload.http.browsers import OWN_FIELDS
from offload.http.call import Call
from offload.http.stats import HttpStats
from offload.ports import WorkerState


async def get_metrics(call: Call) -> Response:
    engine = call.engine
    queues, failing_hosts = await engine.queues(), await engine.callbacks.failing_hosts()
    snapshot = _Snapshot(
        call.stats, engine.stats, queues, engine.workers(), failing_hosts=failing_hosts, broker=engine.broker()
    )
    registry = CollectorRegistry(auto_describe=False)
    registry.register(snapshot)
    response = Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
    response.raw_headers.extend(OWN_FIELDS)
    return response


class _Snapshot(Collector):
    """Everything as it was at one moment."""

    def __init__(
        self,
        http: HttpStats,
        stats: Stats,
        queues: Sequence[QueueView],
        workers: Sequence[WorkerState],
        *,
        failing_hosts: int,
        broker: BrokerState | None,
    ) -> None:
        self._http = http
        self._stats = stats
        self._queues = queues
        self._workers = workers
        self._failing_hosts = failing_hosts
        self._broker = broker

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        yield from self._requests()
        yield from self._tasks()
        yield from self._of_callbacks()
        if self._broker is not None:
            yield from self._of_broker(self._broker)
        yield from self._of_urls()
        yield from self._of_queues()
        yield from self._of_workers()

    def _requests(self) -> Iterable[Metric]:
        labels = ["method", "route"]
        count = CounterMetricFamily("offload_http_requests", "Requests that were answered.", labels=[*labels, "status"])
        for (method, route, status), number in self._http.count.items():
            count.add_metric([method, route, str(status)], number)
        seconds = CounterMetricFamily(
            "offload_http_request_seconds", "Time to the answers, long waits included.", labels=labels
        )
        for key, total in self._http.seconds.items():
            seconds.add_metric(list(key), total)
        return (count, seconds)

    def _tasks(self) -> Iterable[Metric]:
        stats = self._stats
        by_job = (
            ("offload_tasks_submitted", "Tasks accepted since the start.", stats.submitted),
            ("offload_attempts", "Attempts begun.", stats.attempts),
            ("offload_retries", "Attempts that failed and are tried again.", stats.retries),
            (
                "offload_leases_ended",
                "Attempts taken back from workers elsewhere: no sign of life, or their time was over.",
                stats.leases_ended,
            ),
            ("offload_schedules_fired", "Due times of schedules that made a task.", stats.schedules_fired),
            ("offload_schedules_missed", "Due times that had passed and made none.", stats.schedules_missed),
            (
                "offload_schedules_late_seconds",
                "How late the due times were that made a task, added up.",
                stats.schedules_late_seconds,
            ),
        )
        for name, help_text, values in by_job:
            family = CounterMetricFamily(name, help_text, labels=["job_name"])
            for job, value in values.items():
                family.add_metric([job], value)
            yield family
        for name, help_text, spreads in (
            ("offload_run_seconds", "Time that ended attempts ran.", stats.run_seconds),
            ("offload_wait_seconds", "Time between being due and being claimed.", stats.wait_seconds),
        ):
            histogram = HistogramMetricFamily(name, help_text, labels=["job_name"])
            for job, spread in spreads.items():
                histogram.add_metric([job], _buckets(spread), spread.sum)
            yield histogram
        finished = CounterMetricFamily(
            "offload_tasks_finished", "Tasks that ended.", labels=["job_name", "status", "reason"]
        )
        for key, number in stats.finished.items():
            finished.add_metric(list(map(str, key)), number)
        yield finished
        refused = CounterMetricFamily(
            "offload_tasks_refused", "Submissions refused for want of room.", labels=["queue", "code"]
        )
        for pair, number in stats.refused.items():
            refused.add_metric(list(pair), number)
        yield refused
        held_up = CounterMetricFamily(
            "offload_schedules_held_up", "Tries of due times that had to wait for room.", labels=["job_name", "code"]
        )
        for pair, number in stats.schedules_held_up.items():
            held_up.add_metric(list(pair), number)
        yield held_up
        for name, help_text, value in (
            ("offload_worker_deaths", "Worker processes that died with an attempt.", stats.worker_deaths),
            ("offload_stale_results", "Results refused because their task had moved on.", stats.stale_results),
            ("offload_store_retries", "Writes repeated because the store could not take them.", stats.store_retries),
            ("offload_purged_payloads", "Payloads dropped when their retention ended.", stats.purged_payloads),
            ("offload_purged_rows", "Rows dropped when their retention ended.", stats.purged_rows),
        ):
            yield CounterMetricFamily(name, help_text, value=value)

    def _of_callbacks(self) -> Iterable[Metric]:
        tries = CounterMetricFamily(
            "offload_callbacks", "Tries to send callbacks, by what came of them.", labels=["outcome"]
        )
        for outcome, number in self._stats.callbacks.items():
            tries.add_metric([outcome], number)
        yield tries
        yield GaugeMetricFamily(
            "offload_callback_hosts_failing", "Hosts whose callbacks fail at the moment.", value=self._failing_hosts
        )

    def _of_broker(self, broker: BrokerState) -> Iterable[Metric]:
        tokens = CounterMetricFamily(
            "offload_broker_tokens", "Tokens of the broker, by what became of them.", labels=["what"]
        )
        for what, number in self._stats.tokens.items():
            tokens.add_metric([what], number)
        yield tokens
        yield GaugeMetricFamily("offload_broker_up", "1 while the broker answers.", value=broker.trouble is None)
        yield CounterMetricFamily(
            "offload_broker_reconnects", "Connections to the broker made again.", value=broker.reconnects
        )

    def _of_urls(self) -> Iterable[Metric]:
        for way, what in (("fetch", "fetch input files by URL"), ("push", "push results to `upload_to`")):
            plural = {"fetch": "fetches", "push": "pushes"}[way]
            tries = CounterMetricFamily(
                f"offload_{plural}", f"Tries to {what}: done, failed or refused for good.", labels=["outcome"]
            )
            for outcome in ("done", "failed", "refused"):
                tries.add_metric([outcome], self._stats.carried[way, outcome])
            yield tries
            size = self._stats.carried_bytes[way]
            yield CounterMetricFamily(
                f"offload_{way}_bytes", f"Bytes moved by those that were done ({what}).", value=size
            )

    def _of_queues(self) -> Iterable[Metric]:
        tasks = GaugeMetricFamily("offload_queue_tasks", "Tasks in the queue.", labels=["queue", "state"])
        for queue in self._queues:
            for state in ("queued", "ready", "running"):
                tasks.add_metric([queue.name, state], getattr(queue, state))
        yield tasks
        for name, help_text, attribute in (
            ("offload_queue_bytes", "Input bytes of the queued and the running.", "bytes"),
            ("offload_queue_tasks_limit", "How many tasks the queue may hold.", "tasks_max"),
            ("offload_queue_bytes_limit", "How many input bytes the queue may hold.", "bytes_max"),
            ("offload_queue_oldest_wait_seconds", "How long the first in line has been due.", "oldest_wait_seconds"),
            (
                "offload_queue_predicted_wait_seconds",
                "How long a task submitted now would wait.",
                "predicted_wait_seconds",
            ),
        ):
            family = GaugeMetricFamily(name, help_text, labels=["queue"])
            for queue in self._queues:
                value = getattr(queue, attribute)
                if value is not None:
                    family.add_metric([queue.name], value)
            yield family
        paused = GaugeMetricFamily(
            "offload_queue_paused", "1 while nothing is claimed from the queue.", labels=["queue"]
        )
        for queue in self._queues:
            paused.add_metric([queue.name], queue.state == "paused")
        yield paused

    def _of_workers(self) -> Iterable[Metric]:
        count = GaugeMetricFamily("offload_workers", "Worker processes.", labels=["lane", "state"])
        memory = GaugeMetricFamily("offload_worker_memory_bytes", "Memory of the worker processes.", labels=["lane"])
        numbers: Counter[tuple[str, str]] = Counter()
        sizes: Counter[str] = Counter()
        for worker in self._workers:
            numbers[worker.lane, "busy" if worker.tasks else "idle"] += 1
            sizes[worker.lane] += worker.memory_bytes
        for key, number in numbers.items():
            count.add_metric(list(key), number)
        for lane, size in sizes.items():
            memory.add_metric([lane], size)
        yield count
        yield memory


def _buckets(spread: Spread) -> list[tuple[str, float]]:
    """Return how many took up to each bound, as Prometheus wants it."""
    bounds = [*map(str, BOUNDS_SECONDS), "+Inf"]
    return list(zip(bounds, accumulate(spread.counts), strict=True))
