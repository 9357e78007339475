"""The dashboard for everybody: screen readers, keyboards, phones, dark rooms."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from offload import Client
from tests.browser.chromium import dashboard, keep_screenshot
from tests.servers import Server

JOBS = Path(__file__).with_name("jobs_for_pages.py")
LONG = "a_job_that_is_called_more_than_a_phone_can_show_in_one_line"
AXE = "async () => (await axe.run(document, {resultTypes: ['violations']})).violations"
SERIOUS = ("serious", "critical")


@contextmanager
def busy(tmp_path: Path) -> Iterator[tuple[Server, dict[str, str]]]:
    """Serve with something on every page; give the server and the pages' places."""
    with Server(JOBS, tmp_path / "data", "--grace-seconds", "0") as server, Client(server.url) as client:
        failed = client.submit("fail", why="a reason\n" * 30)
        done = client.submit("count", to=3)
        client.submit("wait_for", gate="/nowhere/at/all")
        table = client.submit("echo", value=[{"name": f"row {n}", "size": n} for n in range(9)])
        long = client.submit(LONG, {"when": "2026-01-02"}, options={"tags": {"a-long-tag" * 6: "and-its-value" * 15}})
        for task in (failed, done, table, long):
            task.wait()
        yield server, {
            "overview": "#/", "tasks": "#/tasks", "failed": f"#/tasks/{failed.id}", "done": f"#/tasks/{done.id}",
            "table": f"#/tasks/{table.id}",
            "long": f"#/tasks/{long.id}", "jobs": "#/run", "run": "#/run/copy",
            "run-long": f"#/run/{LONG}", "schedules": "#/schedules",
            "callbacks": "#/callbacks", "keys": "#/keys", "promises": "#/promises",
        }  # fmt: skip


def settle(page: Any) -> None:
    """Wait until a page shows what it was made for."""
    page.wait_for_function("() => document.querySelector('h1') && !document.body.innerText.includes('Loading…')")
    page.get_by_text("live", exact=True).wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(tmp_path: Path, scheme: str) -> None:
    axe = pytest.importorskip("axe_core_python", reason="needs the package axe-core-python")
    script = files(axe).joinpath("axe.min.js").read_text()
    # the checker itself is a script put into the page, which the page's own policy rightly refuses
    with busy(tmp_path) as (server, places), dashboard(server, color_scheme=scheme, bypass_csp=True) as page:
        for name, place in places.items():
            page.goto(f"{server.url}/{place}")
            settle(page)
            page.evaluate(script)
            found = [
                (each["id"], [node["html"][:150] for node in each["nodes"]][:3])
                for each in page.evaluate(AXE)
                if each["impact"] in SERIOUS
            ]
            assert not found, (name, found)
            keep_screenshot(page, f"{scheme}-{name}")


def test_dark_rooms_get_a_dark_page(tmp_path: Path) -> None:
    with Server(JOBS, tmp_path / "data") as server, dashboard(server) as page:
        settle(page)
        light = {}
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            colour = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
            light[scheme] = sum(map(int, colour.removeprefix("rgb(").rstrip(")").split(",")))
        assert light["light"] > 600 and light["dark"] < 150


def test_on_a_phone_nothing_sticks_out(tmp_path: Path) -> None:
    phone = {"width": 360, "height": 740}
    with busy(tmp_path) as (server, places), dashboard(server, viewport=phone, has_touch=True) as page:
        for name, place in places.items():
            page.goto(f"{server.url}/{place}")
            settle(page)
            wide = page.evaluate("() => document.documentElement.scrollWidth")
            assert wide <= 360, name
            keep_screenshot(page, f"phone-{name}")


def test_everything_can_be_reached_and_done_by_keyboard(tmp_path: Path) -> None:
    with (
        Server(JOBS, tmp_path / "data", "--grace-seconds", "0") as server,
        Client(server.url) as client,
        dashboard(server) as page,
    ):
        settle(page)
        page.keyboard.press("Tab")
        assert page.evaluate("() => document.activeElement.textContent") == "Skip to the page"
        page.keyboard.press("Enter")
        assert page.evaluate("() => document.activeElement.id") == "main"
        task = client.submit("wait_for", gate="/nowhere/at/all")
        page.goto(f"{server.url}/#/tasks/{task.id}")
        page.get_by_role("button", name="Delete…").focus()
        page.keyboard.press("Enter")
        page.get_by_role("dialog").wait_for()
        assert page.evaluate("() => document.activeElement.closest('dialog') !== null")
        page.keyboard.press("Escape")
        page.wait_for_function("() => document.querySelector('dialog') === null")
        assert client.get(task.id).status in ("QUEUED", "RUNNING")
        page.get_by_role("button", name="Cancel", exact=True).focus()
        page.keyboard.press("Enter")
        page.locator("ol.timeline .canceled").wait_for()
