"""What every part of the demo uses: where things are, how it speaks, and what it keeps."""

import json
import os
from pathlib import Path
from typing import Any

import offload

DATA = Path(__file__).resolve().parent / "data"
OUTPUT = Path.cwd() / "demo-output"
TASK_SECONDS = 300


class DemoFailed(Exception):
    """Something in the demo did not go as it must."""


def rejected(client: offload.Client, job: str, **given: Any) -> None:
    """Submit what cannot work, and show what is said of it; fail when it is not rejected."""
    try:
        client.submit(job, **given).result(TASK_SECONDS)
    except offload.TaskFailed as error:
        if error.reason != "rejected":
            raise DemoFailed(f"{job} failed, and did not reject its input: {error}") from error
        print(f"    rejected: {error}")
    else:
        raise DemoFailed(f"{job} took input that it must reject")


def keep(result: "offload.client.ResultFile") -> None:
    saved = result.save(OUTPUT)
    print(f"    {shown(saved)}, {size(saved)}")


def keep_json(found: Any, name: str) -> None:
    saved = OUTPUT / name
    saved.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    print(f"    {shown(saved)}, {size(saved)}")


def say(what: str) -> None:
    print(f"* {what}", flush=True)


def shown(path: Path) -> str:
    return os.path.relpath(path)


def size(path: Path) -> str:
    return f"{max(1, round(path.stat().st_size / 1000))} kB"
