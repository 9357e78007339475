"""What each queue saw in each ten seconds: enough for the charts of the last hour."""

from collections.abc import Iterable

from offload.core.task import Record, Seconds

STEP_SECONDS = 10.0
KEPT_SECONDS = 3_600.0


class Sample(Record, frozen=True, kw_only=True):
    """One queue in the ten seconds before `at`, as one node saw it."""

    at: Seconds
    """A multiple of the step."""
    node: str
    queue: str
    arrivals: int = 0
    done: int = 0
    failed: int = 0
    """Tasks that ended FAILED or CANCELED."""
    queued: int = 0
    """At the end of the step, of all nodes."""
    running: int = 0

    @property
    def is_quiet(self) -> bool:
        return not (self.arrivals or self.done or self.failed or self.queued or self.running)


def merged(samples: Iterable[Sample]) -> list[Sample]:
    """Return one sample for each queue and step: what each node counted is added, what all of them see is not."""
    found: dict[tuple[float, str], Sample] = {}
    for sample in samples:
        key = (sample.at, sample.queue)
        other = found.get(key)
        found[key] = sample if other is None else _added(other, sample)
    return [found[key] for key in sorted(found)]


def _added(one: Sample, other: Sample) -> Sample:
    return Sample(
        at=one.at,
        node="",
        queue=one.queue,
        arrivals=one.arrivals + other.arrivals,
        done=one.done + other.done,
        failed=one.failed + other.failed,
        queued=max(one.queued, other.queued),
        running=max(one.running, other.running),
    )
