"""Schedules of a real server: declared in code and by command, through stops, kills and changed code."""

import itertools
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from offload.client import AsyncClient, Client
from offload.core.schedule_errors import ScheduleDoesNotExist, WrongSchedule
from tests.servers import Server

JOBS = Path(__file__).parent / "recurring_jobs.py"
KILLS = int(os.environ.get("SCHEDULE_KILLS", "4"))
SECOND = ("each", "newest", "punctual")


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Return when a condition holds; fail when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        threading.Event().wait(0.03)


def dues(url: str, name: str) -> list[float]:
    """Return the due times whose tasks there are, the earliest first."""
    answer = httpx2.get(f"{url}/v1/tasks", params={"tag.schedule": name, "limit": 1000})
    return sorted(datetime.fromisoformat(task["tags"]["due"]).timestamp() for task in answer.json()["tasks"])


def schedule(url: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx2.get(f"{url}/v1/schedules/{name}").json()
    return found


def fired(url: str, name: str, count: int) -> bool:
    return int(schedule(url, name)["fired"]) >= count


def every_second(schedule: dict[str, Any], last: float) -> int:
    """Return how many due times there were; the first may have been missed, by a server that was slow to start."""
    return round(last - datetime.fromisoformat(schedule["created_at"]).timestamp())


def steps(times: list[float]) -> list[float]:
    return [round(later - earlier, 3) for earlier, later in itertools.pairwise(times)]


@pytest.mark.long
@pytest.mark.story
@pytest.mark.deadline(300 + 20 * KILLS)
def test_killed_again_and_again_a_due_time_makes_one_task_or_none_as_the_policy_says(tmp_path: Path) -> None:
    chance = random.Random(20)
    server = Server(JOBS, tmp_path / "data", "--workers", "1")
    for _ in range(KILLS):
        server.start()
        count = schedule(server.url, "each")["fired"]
        url = server.url
        until(partial(fired, url, "each", count + 1))
        # most often right when something is due
        due = datetime.fromisoformat(schedule(url, "each")["next"][0]).timestamp()
        wait = max(0.0, due - time.time() + chance.choice([-0.002, 0.0, 0.003, 0.006, 0.01, 0.02, 0.5]))
        threading.Event().wait(wait)
        server.kill()
    with server:
        url = server.url
        count = schedule(url, "each")["fired"]
        until(lambda: fired(url, "each", count + 2))
        for name in SECOND:
            found = schedule(url, name)
            paused = httpx2.put(f"{url}/v1/schedules/{name}", json={**found, "paused": True})
            assert paused.status_code == 200
        for name in SECOND:
            times, found = dues(url, name), schedule(url, name)
            assert len(times) == len(set(times)) == found["fired"]
            assert all(step % 1 == 0 for step in steps(times)), "a due time is as far from the next as it was declared"
            assert found["fired"] + found["missed"] == every_second(found, times[-1])
        assert set(steps(dues(url, "each"))) == {1.0} and schedule(url, "each")["missed"] == 0


@pytest.mark.long
@pytest.mark.story
@pytest.mark.deadline(120)
def test_a_stop_is_caught_up_as_each_policy_says(tmp_path: Path) -> None:
    server = Server(JOBS, tmp_path / "data", "--workers", "1")
    with server:
        url = server.url
        until(lambda: all(fired(url, name, 1) for name in SECOND))
    stopped = time.time()
    until(lambda: time.time() > stopped + 4)
    before = time.time()
    with server:
        url = server.url
        until(lambda: all(dues(url, name)[-1] > before + 1 for name in SECOND))
        asleep = {name: [at for at in dues(url, name) if stopped < at < before] for name in SECOND}
        assert len(asleep["each"]) >= 3 and set(steps(asleep["each"])) == {1.0}
        # of the others only the newest, which may also have come due when the server was there again
        assert len(asleep["newest"]) <= 1 and len(asleep["punctual"]) <= 1
        assert schedule(url, "newest")["missed"] >= 2 and schedule(url, "punctual")["missed"] >= 2


@pytest.mark.long
@pytest.mark.story
@pytest.mark.deadline(120)
def test_what_the_code_declares_is_kept_in_step_over_restarts(tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.py"
    jobs.write_text("import offload\n\n\n@offload.job(every='1s')\ndef tick() -> int:\n    return 1\n")
    server = Server(jobs, tmp_path / "data", "--workers", "1")
    with server:
        url = server.url
        until(lambda: fired(url, "tick", 2))
        first = schedule(url, "tick")
        assert first["declared"] and first["every"] == 1
    jobs.write_text("import offload\n\n\n@offload.job(cron='0 4 * * *')\ndef tick() -> int:\n    return 1\n")
    with server:
        again = schedule(server.url, "tick")
        assert (again["cron"], again["timezone"], again["created_at"]) == ("0 4 * * *", "UTC", first["created_at"])
        assert again["fired"] >= first["fired"] and again["last"]["task"]
    jobs.write_text("import offload\n\n\n@offload.job\ndef tick() -> int:\n    return 1\n")
    with server:
        assert httpx2.get(f"{server.url}/v1/schedules/tick").status_code == 404


def offload(url: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "offload", "schedules", *words],
        env={**os.environ, "OFFLOAD_URL": url}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.mark.long
@pytest.mark.story
@pytest.mark.deadline(180)
def test_schedules_by_command_and_client(tmp_path: Path) -> None:
    with Server(JOBS, tmp_path / "data", "--workers", "1") as server:
        url = server.url
        put = ("put", "hello", "greet", "name=anna", "words=2", "--every", "1s", "--tag", "a=b", "--catch-up", "skip")
        made = offload(url, *put, "--json")
        assert made.returncode == 0, made.stderr
        assert json.loads(made.stdout)["input"] == {"name": "anna", "words": 2}
        until(lambda: fired(url, "hello", 1))
        shown = offload(url, "show", "hello").stdout
        assert "every 1s" in shown and "active" in shown
        assert "paused" in offload(url, "pause", "hello").stdout
        listed = offload(url, "list").stdout
        assert "30 2 * * * Europe/Berlin" in listed and "declared" in listed and "paused" in listed
        wrong = offload(url, "put", "x", "greet", "--cron", "0 0 31 2 *", "name=anna")
        assert wrong.returncode == 2 and "never comes true" in wrong.stderr
        assert "declared in the code" in offload(url, "delete", "nightly").stderr
        assert offload(url, "delete", "hello").stdout.strip() == "hello deleted"
        assert offload(url, "show", "hello").returncode == 2

        with Client(url) as client:
            with pytest.raises(WrongSchedule) as raised:
                client.schedules.put("x", "greet", every=1)
            assert raised.value.errors[0]["loc"] == ["input", "name"]
            client.schedules.put("x", "greet", {"name": "bert"}, cron="* * * * *", timezone="Asia/Tokyo")
            assert client.schedules.pause("x").next == () and client.schedules.resume("x").next
            assert "x" in [each.name for each in client.schedules.list()]
            client.schedules.delete("x")
            with pytest.raises(ScheduleDoesNotExist):
                client.schedules.get("x")


async def test_the_async_client_keeps_schedules_too(tmp_path: Path) -> None:
    with Server(JOBS, tmp_path / "data", "--workers", "1") as server:
        async with AsyncClient(server.url) as client:
            made = await client.schedules.put("x", "greet", {"name": "bert"}, every="1h", tags={"a": "b"})
            assert (made.every, made.tags, len(made.next)) == (3600, {"a": "b"}, 5)
            assert (await client.schedules.pause("x")).paused
            assert not (await client.schedules.resume("x")).paused
            assert (await client.schedules.get("x")).name in [each.name async for each in client.schedules.list()]
            await client.schedules.delete("x")


def test_when_an_expression_is_due_is_told_without_a_server() -> None:
    told = offload("http://127.0.0.1:1", "next", "0 12 29 2 *", "--timezone", "Europe/Berlin", "--count", "2")
    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    assert len(lines) == 2 and all("-02-29 12:00 CET" in line and "11:00 UTC" in line for line in lines)
    assert offload("", "next", "0 0 30 2 *").returncode == 2
