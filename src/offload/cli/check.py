"""`offload check`: imports a file of jobs and says what is in it and what is wrong with it, starting nothing."""

import argparse
import contextlib
import sys
from typing import Any

from offload.cli.shown import as_json, say
from offload.core.job import Job
from offload.core.quantities import show_bytes, show_seconds
from offload.loading import load_catalog

HELP = "import a file of jobs and say what is in it and what is wrong"
DESCRIPTION = """\
Import the file or module, print its jobs with their queues, limits and parameters, and say what is wrong with them,
line by line. Nothing is started and nothing is stored."""
EXAMPLES = """\
examples:
  offload check jobs.py
  offload check package.module --json      with the JSON Schemas of inputs and results
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("jobs", metavar="FILE_OR_MODULE", help="jobs.py or package.module")
    parser.add_argument("--json", action="store_true", help="print JSON, with the schemas")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    with contextlib.redirect_stdout(sys.stderr):  # what the file prints when it is imported is no output of ours
        catalog = load_catalog(options.jobs)
    if options.json:
        say(as_json({"jobs": [_described(job) for job in catalog]}))
        return 0
    say(f"{options.jobs}: {len(catalog)} {'job' if len(catalog) == 1 else 'jobs'}, nothing wrong")
    for job in catalog:
        say()
        say(_shown(job))
    return 0


def _described(job: Job) -> dict[str, Any]:
    return {
        "name": job.name,
        "description": job.description,
        "kind": str(job.kind),
        "queue": job.queue,
        "external": job.external,
        "priority": job.priority,
        "limits": {
            "timeout_seconds": job.timeout_seconds,
            "memory_bytes": job.memory_bytes,
            "max_attempts": job.retry.max_attempts,
            "workers": job.workers,
            "concurrency": job.concurrency,
        },
        "input": job.schema.input,
        "result": job.schema.result,
        "returns_file": job.schema.returns_file,
    }


def _shown(job: Job) -> str:
    lines = [f"{job.name}({', '.join(_parameters(job.schema.input))}) -> {_result(job)}"]
    if job.description:
        lines.append(f"  {job.description.splitlines()[0]}")
    lines.append(f"  queue {job.queue}; {'; '.join(_limits(job))}")
    return "\n".join(lines)


def _limits(job: Job) -> list[str]:
    attempts = job.retry.max_attempts
    found = [f"{attempts} {'attempt' if attempts == 1 else 'attempts'}"]
    if job.timeout_seconds is not None:
        found.append(f"at most {show_seconds(job.timeout_seconds)}")
    if job.memory_bytes is not None:
        found.append(f"at most {show_bytes(job.memory_bytes)} of memory")
    if job.workers is not None:
        found.append(f"{job.workers} {'worker' if job.workers == 1 else 'workers'} of its own")
    if job.kind.is_async:
        found.append(f"{job.concurrency} at a time")
    if job.priority:
        found.append(f"priority {job.priority}")
    return found


def _parameters(schema: dict[str, Any]) -> list[str]:
    required = schema.get("required", ())
    found = []
    for name, each in schema.get("properties", {}).items():
        default = "" if name in required else f" = {as_json(each['default'])}" if "default" in each else " = …"
        found.append(f"{name}: {type_text(each, schema)}{default}")
    return found


def _result(job: Job) -> str:
    if job.schema.returns_file:
        return "file"
    return "any JSON" if job.schema.result is None else type_text(job.schema.result, job.schema.result)


def type_text(schema: dict[str, Any], whole: dict[str, Any]) -> str:
    """Return a type as people say it."""
    if schema.get("format") == "binary":
        return "file"
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " | ".join(as_json(value) for value in schema["enum"])
    if "const" in schema:
        return as_json(schema["const"])
    if ways := schema.get("anyOf") or schema.get("oneOf"):
        return " | ".join(dict.fromkeys(type_text(way, whole) for way in ways))
    if schema.get("type") == "array":
        items = schema.get("items")
        return f"list of {type_text(items, whole)}" if isinstance(items, dict) and items else "list"
    if schema.get("type") == "object":
        return str(schema.get("title", "object"))
    found = schema.get("type", "any JSON")
    return " | ".join(found) if isinstance(found, list) else str(schema.get("format", found))
