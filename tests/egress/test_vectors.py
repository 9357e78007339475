"""Every hostile URL times every feature: judged by which connections were attempted, in a network without a way out."""

import json
import os
import shutil
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from tests.egress.vectors import OPEN, OPEN_V4, closed, misspelt

ROOT = Path(__file__).resolve().parents[2]
RELATIVE = ("", "http", "example.com", "/etc/passwd", r"http\uff1a//a.com/")
Results = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def seen() -> Results:
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"):
        pytest.skip("needs root, unshare and ip to make a network of its own")
    ran = subprocess.run(
        ["unshare", "--net", sys.executable, "-m", "tests.egress.in_namespace"],
        cwd=ROOT, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    if "Operation not permitted" in ran.stderr and "unshare" in ran.stderr:
        pytest.skip("this machine lets nobody make a network of its own")
    assert ran.returncode == 0, ran.stderr
    found: Results = json.loads(ran.stdout)
    return found


def test_the_table_is_large_enough_and_every_vector_was_tried() -> None:
    assert len(misspelt()) + len(closed()) >= 200 and len(OPEN) >= 20


def test_nothing_hostile_is_ever_connected_to(seen: Results) -> None:
    hostile = [each for each in seen["results"] if each["reaches"] is None]
    assert len(hostile) >= 1200
    # a redirect is first asked for at the open place that gives it
    wrong = [
        each
        for each in hostile
        if {*each["attempted"], *each["arrived"]} - ({OPEN_V4} if each["way"] == "redirect" else set())
    ]
    assert not wrong, json.dumps(wrong[:10], indent=1)


def test_every_hostile_url_comes_to_an_error(seen: Results) -> None:
    took = [each for each in seen["results"] if each["reaches"] is None and each["outcome"] == "ok"]
    took = [each for each in took if each["way"] == "direct" or each["feature"] == "fetch"]
    # as a redirect these say where to go within the same place, and that is allowed
    assert {(each["way"], each["url"]) for each in took} == {("redirect", url) for url in RELATIVE}


def test_a_closed_address_and_an_unknown_name_cannot_be_told_apart(seen: Results) -> None:
    names = {vector.name for vector in closed()}
    direct = [each for each in seen["results"] if each["url"] in names and each["way"] == "direct"]
    assert {each["outcome"] for each in direct} == {"Unreachable"} and len(direct) == 3 * len(names)


def test_what_is_open_is_reached(seen: Results) -> None:
    controls = [each for each in seen["results"] if each["reaches"] and each["way"] == "direct"]
    assert len(controls) == 3 * len(OPEN)
    for each in controls:
        assert each["outcome"] == "ok" and ip_address(each["reaches"]) in map(ip_address, each["attempted"]), each
        assert len(each["arrived"]) == 1, each
    followed = [each for each in seen["results"] if each["reaches"] and each["way"] == "redirect"]
    assert {(each["feature"], each["outcome"]) for each in followed} == {
        ("callback", "ok"), ("fetch", "ok"), ("push", "UploadRefused")
    }  # fmt: skip
    for each in followed:
        assert len(each["arrived"]) == (2 if each["feature"] == "fetch" else 1), each


def test_a_name_that_changes_its_mind_is_judged_each_time(seen: Results) -> None:
    told: dict[str, list[tuple[str, list[str]]]] = {}
    for each in seen["rebound"]:
        told.setdefault(each["host"], []).append((each["outcome"], each["attempted"]))
    refused: tuple[str, list[str]] = ("Unreachable", [])
    reached = ("ok", [OPEN_V4])
    assert told["open-then-closed.test"] == [reached, refused, refused]
    assert told["closed-then-open.test"] == [refused, reached, reached]
