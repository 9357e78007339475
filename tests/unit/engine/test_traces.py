"""The spans of a task: its wait, each of its runs, and what is sent for it, all in the trace of its request."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, StatusCode, format_span_id, format_trace_id

from offload.core.outcome import Succeeded, Unrun
from offload.core.task import ALL, Status
from offload.tracing import OtelTracer
from tests.egress.test_downloads import DATA, gives
from tests.egress.zoo import Zoo
from tests.unit.engine.kit import START, Kit, kit
from tests.unit.engine.steps import BROKEN, CATALOG, status_is, submit
from tests.unit.engine.test_inputs import submit as submit_files
from tests.unit.engine.waiting import until
from tests.unit.test_trace import GOOD, SPAN, TRACE


class Traced:
    """An engine whose spans can be looked at."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracer = OtelTracer(self.exporter, node="node-1", version="0")

    async def spans(self) -> list[ReadableSpan]:
        """Return what was told, in the order of the ends; nothing is told after this."""
        await asyncio.to_thread(self.tracer._provider.shutdown)  # as `stop` does, but however long it takes
        return list(self.exporter.get_finished_spans())


@asynccontextmanager
async def traced(folder: Path) -> AsyncIterator[tuple[Kit, Traced]]:
    it = Traced()
    async with kit(folder, CATALOG, tracer=it.tracer) as engine:
        yield engine, it


def parent_of(span: ReadableSpan) -> str | None:
    return None if span.parent is None else format_span_id(span.parent.span_id)


def context_of(span: ReadableSpan) -> SpanContext:
    found = span.get_span_context()
    assert found is not None
    return found


def own_id(span: ReadableSpan) -> str:
    return format_span_id(context_of(span).span_id)


def seconds(span: ReadableSpan) -> float:
    assert span.start_time is not None and span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


async def test_a_task_waits_and_runs_within_the_trace_of_its_request(tmp_path: Path) -> None:
    async with traced(tmp_path) as (it, traces):
        first = await submit(it)
        second = await submit(it, traceparent=GOOD)
        await until(lambda: first in it.workers.running)
        it.clock.at += 3.0
        it.succeed(first)
        await until(lambda: second in it.workers.running)
        handed = it.workers.handed[second].traceparent
        it.clock.at += 2.0
        it.succeed(second)
        await status_is(it, second, Status.DONE)
        wait, run = [each for each in await traces.spans() if (each.attributes or {})["offload.task.id"] == second]
        assert (wait.name, run.name) == ("wait", "run noop")
        assert (run.kind, seconds(wait), seconds(run)) == (SpanKind.CONSUMER, 3.0, 2.0)
        assert wait.start_time == int(START * 1e9)
        assert {format_trace_id(context_of(each).trace_id) for each in (wait, run)} == {TRACE}
        assert (parent_of(wait), parent_of(run)) == (SPAN, SPAN)
        assert handed == f"00-{TRACE}-{own_id(run)}-01"
        assert dict(run.attributes or {}) == {
            "offload.task.id": second, "offload.job": "noop", "offload.queue": "default", "offload.attempt": 1,
            "offload.outcome": "succeeded",
        }  # fmt: skip


async def test_a_task_without_a_trace_begins_one(tmp_path: Path) -> None:
    async with traced(tmp_path) as (it, traces):
        task_id = await submit(it)
        await until(lambda: task_id in it.workers.running)
        it.succeed(task_id)
        await status_is(it, task_id, Status.DONE)
        wait, run = await traces.spans()
        assert parent_of(wait) is None and parent_of(run) == own_id(wait)


async def test_a_failed_attempt_says_so_but_not_what_it_said_and_each_attempt_has_its_span(tmp_path: Path) -> None:
    async with traced(tmp_path) as (it, traces):
        task_id = await submit(it, "slow", traceparent=GOOD)
        await until(lambda: task_id in it.workers.running)
        it.workers.end(task_id, BROKEN)
        await status_is(it, task_id, Status.QUEUED)
        it.clock.at += 20.0
        await until(lambda: task_id in it.workers.running)
        it.workers.end(task_id, Unrun())
        await until(lambda: task_id in it.workers.running)
        it.succeed(task_id)
        await status_is(it, task_id, Status.DONE)
        runs = [each for each in await traces.spans() if each.name == "run slow"]
        outcomes = [(each.attributes or {})["offload.outcome"] for each in runs]
        assert outcomes == ["error", "given back", "succeeded"]
        assert (runs[0].status.status_code, runs[0].status.description) == (StatusCode.ERROR, "ValueError")


async def test_a_claim_for_a_worker_elsewhere_that_comes_back_unrun_is_no_run(tmp_path: Path) -> None:
    async with traced(tmp_path) as (it, traces):
        task = await it.get(await submit(it, traceparent=GOOD))
        own = it.engine.parts.traces
        elsewhere = msgspec.structs.replace(task, attempt=7)
        own.claimed(elsewhere, it.clock.at, here=False)
        own.ended(elsewhere, Unrun())
        own.claimed(elsewhere, it.clock.at, here=False)
        own.ended(elsewhere, Succeeded(json=b"1"))
        told = [each for each in await traces.spans() if (each.attributes or {})["offload.attempt"] == 7]
        assert [each.name for each in told] == ["wait", "wait", "run noop"]


async def test_what_is_fetched_and_told_takes_the_trace_along(tmp_path: Path) -> None:
    async with Zoo({"/cat": gives(DATA)}).open() as zoo, traced(tmp_path) as (it, traces):
        task_id = await submit_files(it, zoo.url("/cat"), traceparent=GOOD)
        await until(lambda: task_id in it.workers.running)
        it.succeed(task_id)
        await status_is(it, task_id, Status.DONE)
        lost = await submit_files(it, zoo.url("/gone"), traceparent=GOOD)
        await status_is(it, lost, Status.FAILED)
        spans = {own_id(each): each for each in await traces.spans()}
        fetches = [each for each in spans.values() if each.name == "fetch"]
        assert [each.kind for each in fetches] == [SpanKind.CLIENT] * 2
        assert fetches[0].status.status_code is StatusCode.UNSET and fetches[1].status.status_code is StatusCode.ERROR
        told = [visit.headers["traceparent"] for visit in zoo.visits]
        assert told == [f"00-{TRACE}-{own_id(each)}-01" for each in fetches]
        above = spans[parent_of(fetches[0]) or ""]
        assert above.name == "run noop"


async def test_what_is_not_sampled_is_not_told_but_passed_on(tmp_path: Path) -> None:
    async with traced(tmp_path) as (it, traces):
        task_id = await submit(it, traceparent=f"00-{TRACE}-{SPAN}-00")
        await until(lambda: task_id in it.workers.running)
        assert it.workers.handed[task_id].traceparent.startswith(f"00-{TRACE}-")
        assert it.workers.handed[task_id].traceparent.endswith("-00")
        it.succeed(task_id)
        await status_is(it, task_id, Status.DONE)
        assert await traces.spans() == []


@pytest.mark.parametrize("given", ["", GOOD])
async def test_without_a_tracer_a_trace_only_passes_through(tmp_path: Path, given: str) -> None:
    async with kit(tmp_path, CATALOG) as it:
        task_id = await submit(it, traceparent=given)
        await until(lambda: task_id in it.workers.running)
        assert it.workers.handed[task_id].traceparent == given == (await it.engine.get(ALL, task_id)).traceparent
        it.succeed(task_id)


async def test_a_collector_that_is_away_costs_nobody_anything(tmp_path: Path) -> None:
    from offload.tracing import exporter_to

    tracer = OtelTracer(exporter_to("http://127.0.0.1:1", {}), node="n", version="0")
    async with asyncio.timeout(20):
        async with kit(tmp_path, CATALOG, tracer=tracer) as it:
            task_id = await submit(it)
            await until(lambda: task_id in it.workers.running)
            it.succeed(task_id)
            await status_is(it, task_id, Status.DONE)
        await tracer.stop()
