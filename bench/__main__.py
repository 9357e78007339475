"""Measures, prints a table and keeps it under bench/results/, dated; or only the parts that are named."""

import argparse
import datetime
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from bench import http_bench, nodes_bench, sync_flask
from bench.http_bench import FULL, QUICK, Row, Scale
from bench.servers import machine

RESULTS = Path(__file__).resolve().parent / "results"
PARTS: dict[str, Callable[[Scale], Iterable[Row]]] = {
    "accepting": http_bench.accepting,
    "running": http_bench.running,
    "queued": http_bench.queued,
    "nodes": nodes_bench.nodes,
    "flask": lambda scale: sync_flask.compared(),
}


def main() -> int:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of {', '.join(PARTS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="short and small: to see that it works; nothing is kept")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    rows = []
    for part in options.parts or PARTS:
        print(f"{part}:", flush=True)
        for row in PARTS[part](QUICK if options.quick else FULL):
            print(f"  {row.what:<66} {row.figure:>16}  {row.remark}", flush=True)
            rows.append(row)
    if not options.quick:
        print(f"kept in {keep(rows)}")
    return 0


def keep(rows: list[Row]) -> Path:
    """Write a dated table."""
    now = datetime.datetime.now(datetime.UTC)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    lines = [f"# {now:%Y-%m-%d %H:%M} UTC, commit {commit.stdout.strip() or 'unknown'}", "", machine(), ""]
    lines += ["| what | figure | |", "| --- | --- | --- |"]
    lines += [f"| {row.what} | {row.figure} | {row.remark} |" for row in rows]
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{now:%Y-%m-%d-%H%M}.md"
    path.write_text("\n".join(lines) + "\n")
    return path


if __name__ == "__main__":
    sys.exit(main())
