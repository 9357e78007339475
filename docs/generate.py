"""Writes the parts of docs/reference that the code knows best, between markers; --check only compares."""

import ast
import contextlib
import importlib
import inspect
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import events_told
import javascript_told
import msgspec

from offload.core import errors, mark, promises, schedule_errors, store_errors, transitions
from offload.core.retry import Retry
from offload.core.task import Reason, Status
from offload.http.problems import PROBLEMS

REFERENCE = Path(__file__).parent / "reference"
BLOCK = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> int:
    """Bring every page up to date; with --check, fail when one is not."""
    stale = [path for path in sorted(REFERENCE.glob("*.md")) if updated(path) != path.read_text()]
    if sys.version_info[:2] != (3, 11):
        stale = [
            path for path in stale if path.name != "cli.md"
        ]  # argparse words and wraps its help a little differently
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path} is not what the code says; run: python docs/generate.py")
        return 1 if stale else 0
    for path in stale:
        path.write_text(updated(path))
        print(f"wrote {path}")
    return 0


def updated(path: Path) -> str:
    """Return a page with its generated parts as the code has them now."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{GENERATORS[found[2]]().rstrip()}\n\n{found[3]}", path.read_text())


def settings() -> str:
    from offload.settings import SPECS

    rows = [
        [f"`{spec.name}`", f"`{spec.default}`" if spec.default else "", spec.kind.unit, _sentence(spec.help)]
        for spec in SPECS.values()
    ]
    return table(["setting", "default", "is a", "what it is"], rows)


def backends(kind: str) -> str:
    rows = [list(msgspec.structs.asdict(each).values()) for each in promises.tables()[kind]]
    names = [field.name for field in msgspec.structs.fields(promises.tables()[kind][0])]
    said = {"accepted": "a 202 means", "recovery": "the tasks of a dead node run again", "nodes": "nodes on it",
            "lost": "lost with its messages", "latency": "how soon", "kept": "a file is kept when"}  # fmt: skip
    return table([said.get(name, name) for name in names], rows)


def problems() -> str:
    rows = [[f"`{code}`", str(status), title] for code, (status, title) in PROBLEMS.items()]
    return table(["code", "status", "title"], rows)


def python_errors() -> str:
    import offload.client.errors as remote

    rows = []
    for module in (errors, schedule_errors, store_errors, remote):
        for name, kind in vars(module).items():
            if inspect.isclass(kind) and issubclass(kind, errors.OffloadError) and kind.__module__ == module.__name__:
                above = kind.__bases__[0].__name__
                said = (
                    kind.__doc__ if "__doc__" in vars(kind) and kind.__doc__ else PROBLEMS.get(kind.code, ("", ""))[1]
                )
                rows.append([f"`{name}`", f"`{above}`" if above != "Exception" else "", _sentence(said or "")])
    return table(["error", "is a", "when"], rows)


def reasons() -> str:
    said = {
        "error": "the job raised an exception, and no attempt was left",
        "rejected": "the job raised `offload.Reject`: the input is bad",
        "timeout": "it took longer than its `timeout`",
        "out_of_memory": "it took more memory than it may, or the system ended it for want of memory",
        "worker_lost": "its worker or its node died, and no attempt was left",
        "poison": f"it took {transitions.LOSSES_MAX} workers down",
        "deadline": "it had not started by its deadline",
        "input_unavailable": "a file of its input could not be read any more",
        "result_too_large": "its result is larger than `result_bytes_max`",
        "upload_failed": "its result could not be sent where the client wanted it",
        "canceled": "somebody canceled it",
    }
    return table(["reason", "why"], [[f"`{reason.value}`", _sentence(said[reason.value])] for reason in Reason])


def states() -> str:
    rows = []
    for status in Status:
        row = [f"`{status.value}`"]
        for event in transitions.Event:
            after = transitions.TABLE.get((status, event))
            row.append(after.value if after else "")
        rows.append(row)
    return table(["", *(event.value for event in transitions.Event)], rows)


def job_options() -> str:
    rows = [[f"`{name}`", f"`{kind}`", _sentence(said)] for name, kind, said in _documented(mark.Options)]
    return table(["option", "type", "what it says"], rows)


def retry_fields() -> str:
    rows = [[f"`{field.name}`", f"`{field.default}`"] for field in fields(Retry)]
    return table(["field", "default"], rows)


def context() -> str:
    from offload.workers.context import Context

    return table(["member", "what it says"], [[f"`{name}`", said] for name, said in _members(Context, "ctx")])


def client_options() -> str:
    from offload.client.options import Options

    rows = [[f"`{name}`", f"`{kind}`", _sentence(said)] for name, kind, said in _documented(Options)]
    return table(["option", "type", "what it says"], rows)


def client_methods() -> str:
    from offload.client import Client, ResultFile, Submitted
    from offload.client.schedules import Schedules

    parts = []
    of_tasks = {member: inspect.getdoc(value) or "" for member, value in vars(Submitted).items()}
    for kind, name in ((Client, "client"), (Submitted, "task"), (ResultFile, "file"), (Schedules, "client.schedules")):
        rows = []
        for signature, said in _members(kind, name):
            member = signature.removeprefix(f"{name}.").partition("(")[0]
            rows.append([f"`{signature}`", said or of_tasks.get(member, "")])
        parts.append(f"### {kind.__name__}\n\n{inspect.getdoc(kind)}\n\n{table(['member', 'what it says'], rows)}")
    return "\n".join(parts)


def client_replies() -> str:
    from offload import client

    parts = []
    kinds = [getattr(client, name) for name in client.__all__]
    for kind in (kind for kind in kinds if hasattr(kind, "__struct_fields__") or kind is client.NewTask):
        above = [f"{base.__name__}, and also" for base in kind.__bases__ if base.__name__ in client.__all__]
        rows = [[f"`{name}`", f"`{type_}`", said] for name, type_, said in _documented(kind)]
        text = " ".join([*(f"A {each}:" for each in above), inspect.cleandoc(kind.__doc__ or "") if not above else ""])
        parts.append(f"### {kind.__name__}\n\n{text.strip()}\n\n{table(['field', 'type', 'what it says'], rows)}")
    return "\n".join(parts)


def metrics() -> str:
    from prometheus_client.core import CounterMetricFamily

    from offload.engine.engine import BrokerState
    from offload.engine.stats import Stats
    from offload.http.metrics import _Snapshot
    from offload.http.stats import HttpStats

    rows = []
    broker = BrokerState(trouble=None, reconnects=0)
    for family in _Snapshot(HttpStats(), Stats(), [], [], failing_hosts=0, broker=broker).collect():
        name = family.name + ("_total" if isinstance(family, CounterMetricFamily) else "")
        labels = ", ".join(f"`{label}`" for label in family._labelnames)  # type: ignore[attr-defined]
        rows.append([f"`{name}`", family.type, labels, family.documentation])
    return table(["metric", "type", "labels", "what it counts"], rows)


def operations() -> str:
    from offload.core.catalog import Catalog
    from offload.http.config import HttpConfig
    from offload.http.openapi import build

    rows = []
    for path, methods in build(Catalog.of_jobs(), HttpConfig())["paths"].items():
        for method, operation in methods.items():
            good = ", ".join(status for status in sorted(operation["responses"]) if status < "400")
            rows.append([f"`{method.upper()} {path}`", operation["summary"], good])
    return table(["request", "does", "answers"], rows)


def command_line() -> str:
    parts = []
    for words in _commands():
        parts.append(f"### offload {' '.join(words)}\n\n```text\n{help_of(words)}\n```\n")
    return "\n".join(parts)


def _commands() -> Iterator[list[str]]:
    """Yield the words of every command, and of every action that it has."""
    import argparse

    from offload.cli.main import COMMANDS, module_of

    for name in COMMANDS:
        yield [name]
        parser = argparse.ArgumentParser()
        module_of(name).add_arguments(parser)
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                yield from ([name, each] for each in action.choices)


def help_of(words: list[str]) -> str:
    """Return what `--help` prints, for a terminal of a fixed width; settings are left out, they have a page."""
    from offload.cli import main as command

    os.environ["COLUMNS"] = "100"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        command([*words, "--help"])
    text = re.sub(
        r"\nsettings:\n.*?\n\n(?=examples:)",
        "\nsettings: see the page of that name\n\n",
        printed.getvalue(),
        flags=re.S,
    )
    return re.sub(
        r"(\[--config FILE\]).*?(\n *\[FILE_OR_MODULE\]|\n\n)", r"\1 [--SETTING VALUE]\2", text, count=1, flags=re.S
    ).rstrip()


def testing() -> str:
    from offload import testing as module

    parts = []
    for kind, name in ((module.Receiver, "receiver"), (module.Received, "received")):
        rows = [[f"`{name}.{field}`", said] for field, _, said in _documented(kind) if not field.startswith("_")]
        declared = {row[0] for row in rows}
        rows += [[f"`{each}`", said] for each, said in _members(kind, name) if f"`{each}`" not in declared]
        parts.append(f"### {kind.__name__}\n\n{inspect.getdoc(kind)}\n\n{table(['member', 'what it says'], rows)}")
    signature = f"verify({_parameters(module.verify, skip=0)})"
    rows = [[f"`{signature}`", inspect.getdoc(module.verify) or ""]]
    rows += [["`WrongSignature`", inspect.getdoc(module.WrongSignature) or ""]]
    return "\n".join([*parts, f"### verify\n\n{table(['name', 'what it says'], rows)}"])


def fenced(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"


def table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(
        "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in line) + " |\n" for line in lines
    )


def _documented(kind: type) -> Iterator[tuple[str, str, str]]:
    """Yield name, type and the text below each field of a class."""
    (body,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(body, ast.ClassDef)
    fields_and_texts = [*body.body, ast.Pass()]
    for field, following in zip(fields_and_texts, fields_and_texts[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            said = following.value if isinstance(following, ast.Expr) else None
            text = str(said.value) if isinstance(said, ast.Constant) else ""
            yield field.target.id, ast.unparse(field.annotation), text


def _members(kind: type, name: str) -> Iterator[tuple[str, str]]:
    """Yield each public attribute and method of a class, as it is written, with what its docstring says."""
    for member, value in vars(kind).items():
        if member.startswith("_"):
            continue
        if isinstance(value, property):
            yield f"{name}.{member}", inspect.getdoc(value) or ""
        elif inspect.isfunction(value):
            yield f"{name}.{member}({_parameters(value)})", inspect.getdoc(value) or ""


def _parameters(function: Callable[..., Any], skip: int = 1) -> str:
    """Return the parameters without their types: those are for editors."""
    shown, only_by_name = [], False
    for parameter in list(inspect.signature(function).parameters.values())[skip:]:
        if parameter.kind is parameter.KEYWORD_ONLY and not only_by_name:
            shown.append("*")
            only_by_name = True
        text = ("**" if parameter.kind is parameter.VAR_KEYWORD else "") + parameter.name
        default = parameter.default
        shown.append(text if default is parameter.empty else f"{text}={default!r}")
    return ", ".join(shown)


def _sentence(text: str) -> str:
    first = " ".join(text.split())
    return first[:1].upper() + first[1:] if first[:1].islower() and not first.startswith("`") else first


GENERATORS: dict[str, Callable[[], str]] = {
    "settings": settings,
    "problems": problems,
    "stores": lambda: backends("stores"),
    "brokers": lambda: backends("brokers"),
    "files": lambda: backends("files"),
    "python-errors": python_errors,
    "reasons": reasons,
    "states": states,
    "job-options": job_options,
    "retry": retry_fields,
    "context": context,
    "client-options": client_options,
    "client-methods": client_methods,
    "client-replies": client_replies,
    "metrics": metrics,
    "operations": operations,
    "task": lambda: fenced("json", events_told.task_example()),
    "event-kinds": lambda: table(["event", "when", "its data"], events_told.kinds()),
    "event-fields": lambda: table(["field", "of", "what it says"], events_told.fields()),
    "event-example": lambda: fenced("text", events_told.example()),
    "callback-types": lambda: table(["type", "when"], events_told.callbacks()),
    "callback-example": lambda: fenced("json", events_told.callback_example()),
    "overview-events": lambda: table(["event", "when", "its data"], events_told.overview()),
    "javascript": lambda: javascript_told.reference(table),
    "testing": testing,
    "command-line": command_line,
}

if __name__ == "__main__":
    importlib.import_module("offload")
    sys.exit(main())
