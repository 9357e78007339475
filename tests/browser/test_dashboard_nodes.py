"""The dashboard of one node of several: what the others do is seen there too."""

import signal
from pathlib import Path

from offload import Client
from tests.backends.postgres import Postgres
from tests.browser.chromium import dashboard, keep_screenshot
from tests.servers import Server

JOBS = Path(__file__).with_name("jobs_for_pages.py")


def test_an_api_node_shows_what_the_worker_nodes_do(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with Postgres() as database:
        shared = (
            "--store", database.url(), "--blobs", f"file://{tmp_path / 'blobs'}", "--lease-seconds", "4",
            "--heartbeat-seconds", "1", "--grace-seconds", "1",
        )  # fmt: skip
        with (
            Server(JOBS, tmp_path / "api", *shared, "--no-workers") as api,
            Server(JOBS, tmp_path / "work", *shared, "--workers", "1", command="work") as worker,
            Client(api.url) as client,
            dashboard(api) as page,
        ):
            page.get_by_text("This node runs no workers.").wait_for()
            working = page.get_by_role("row").filter(has=page.get_by_role("cell", name="no", exact=True))
            working.get_by_text("present").wait_for()
            task = client.submit("wait_for", gate=str(gate))
            page.locator(".fact", has_text="Running").get_by_text("1", exact=True).wait_for()
            keep_screenshot(page, "nodes")
            gate.touch()
            assert task.result(60) == "open"
            assert worker.process is not None
            worker.process.send_signal(signal.SIGKILL)
            working.get_by_text("not heard of").wait_for()
