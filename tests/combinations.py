"""Runs the stories on every supported store, broker and place for files, one after the other; keeps a dated table."""

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tests.backends.every_server import VARIABLE, Combination, combination_of, combinations

COMMAND = ("-m", "pytest", "-q", "-n", "2", "tests/end_to_end", "tests/faults", "tests/clients", "-m")
SHORT, LONG = "story and not long", "story and long"
LONG_ON = ("sqlite+native+local", "sqlite+redis+s3", "postgresql+rabbitmq+local", "postgresql+sqs+s3")
"""Each store, broker and place for files is in one of these; the long stories run here, the others everywhere."""
PAIRS = ("postgresql+native+s3+pair", "postgresql+redis+local+pair")
COMBINATION_SECONDS = 3600.0
RESULTS = Path(__file__).resolve().parents[1] / "bench" / "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of the stories on one combination."""

    on: Combination
    stories: str
    passed: int
    failed: tuple[str, ...]
    left_out: dict[str, str]
    """Each test with the reason."""
    seconds: float


def main() -> int:
    """Run what was asked for; the table is written anew after each run."""
    parser = argparse.ArgumentParser(prog="python -m tests.combinations", description=__doc__)
    parser.add_argument("combinations", nargs="*", type=combination_of, help="as postgresql+redis+s3; all by default")
    parser.add_argument("--long", action="store_true", help=f"run the long ones everywhere, not only on {LONG_ON}")
    parser.add_argument("--keep", action="store_true", help="keep the table also when only some were named")
    options = parser.parse_args()
    began = datetime.datetime.now(datetime.UTC)
    page = RESULTS / f"{began:%Y-%m-%d-%H%M}-combinations.md"
    title = f"{began:%Y-%m-%d %H:%M} UTC, commit {commit()}"
    every = options.combinations or [*combinations(), *map(combination_of, PAIRS)]
    runs = [(on, SHORT) for on in every] + [(on, LONG) for on in every if options.long or str(on) in LONG_ON]
    outcomes = []
    for on, stories in runs:
        outcomes.append(run(on, stories))
        print(line(outcomes[-1]), *(f"  {name}" for name in outcomes[-1].failed), sep="\n", flush=True)
        if options.keep or not options.combinations:
            page.write_text(table(outcomes, title))
    return int(any(outcome.failed for outcome in outcomes))


def run(on: Combination, stories: str) -> Outcome:
    """Run the stories on one combination; what a failed run says is shown."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="offload-combination-") as home:
        report = Path(home, "report.xml")
        command = [sys.executable, *COMMAND, stories, f"--basetemp={home}/tests", f"--junit-xml={report}"]
        environ = {**os.environ, VARIABLE: str(on), "CI": "true"}  # what is not installed is no pass
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=COMBINATION_SECONDS)
        if done.returncode:
            print(done.stdout, done.stderr, flush=True)
        cases = list(ElementTree.parse(report).iter("testcase")) if report.exists() else []
    left_out = {name_of(case): str(skip.get("message")) for case in cases for skip in case.findall("skipped")}
    failed = sorted(
        {name_of(case) for case in cases if case.find("failure") is not None or case.find("error") is not None}
    )
    if done.returncode and not failed:
        failed = [f"the run itself, with {done.returncode}"]
    ran = {name_of(case) for case in cases}
    return Outcome(
        on=on, stories=stories, passed=len(ran - set(failed) - set(left_out)), failed=tuple(failed), left_out=left_out,
        seconds=time.monotonic() - began,
    )  # fmt: skip


def name_of(case: ElementTree.Element) -> str:
    """Return where a test is and its name."""
    return f"{str(case.get('classname')).removeprefix('tests.').replace('.', '/')}.py::{case.get('name')}"


def line(outcome: Outcome) -> str:
    on = outcome.on
    which = "long" if outcome.stories == LONG else "short"
    figures = (which, outcome.passed, len(outcome.failed), len(outcome.left_out), f"{outcome.seconds:.0f}")
    return f"| {' | '.join([*on.words, *map(str, figures)])} |"


def table(outcomes: Sequence[Outcome], title: str) -> str:
    """Return the page: a row for each run, then what was left out and why, then what failed."""
    lines = [f"# {title}: the stories on every combination", ""]
    each = f'`{VARIABLE}=… python {" ".join(COMMAND)} "{SHORT}"`, or `"{LONG}"`,'
    lines += [f"`make combinations`, which runs {each} for each row; {os.cpu_count()} CPUs."]
    lines += ["", "| store | broker | files | nodes | stories | passed | failed | left out | seconds |"]
    lines += ["| --- | --- | --- | --- | --- | ---: | ---: | ---: | ---: |", *map(line, outcomes)]
    reasons: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for outcome in outcomes:
        for name, why in outcome.left_out.items():
            reasons[name.partition("::")[0], why.partition(": ")[2]][str(outcome.on)].add(name)
    if reasons:
        lines += ["", "## Left out", "", "| tests of | how many | why | on |", "| --- | ---: | --- | --- |"]
        for (file, why), names in sorted(reasons.items()):
            count = len(set().union(*names.values()))
            lines.append(f"| `{file}` | {count} | {why} | {shown(list(names))} |")
    failed = [(str(outcome.on), name) for outcome in outcomes for name in outcome.failed]
    if failed:
        lines += ["", "## Failed", "", "| on | test |", "| --- | --- |"]
        lines += [f"| {on} | `{name}` |" for on, name in failed]
    return "\n".join(lines) + "\n"


def shown(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 2 else f"{names[0]} and {len(names) - 1} more"


def commit() -> str:
    """Return the commit of the code that ran, and whether it was changed since."""
    said = [
        subprocess.run(["git", *words], capture_output=True, text=True, check=False).stdout.strip()
        for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
    ]
    return (said[0] or "unknown") + (" with changes" if said[1] else "")


if __name__ == "__main__":
    sys.exit(main())
