"""Callbacks on the dashboard: what becomes of them is seen as it comes."""

import threading
from pathlib import Path

from offload import Client
from offload.testing import Receiver
from tests.browser.chromium import dashboard, keep_screenshot
from tests.servers import Server

JOBS = Path(__file__).with_name("jobs_for_pages.py")


def test_callbacks_are_followed_live_on_their_own_page_and_on_their_task_s(tmp_path: Path) -> None:
    gate, is_well = tmp_path / "gate", threading.Event()
    with (
        Receiver(answer=lambda came: 200 if is_well.is_set() else 500) as receiver,
        Server(JOBS, tmp_path / "data", "--egress-allow", "127.0.0.0/8") as server,
        Client(server.url) as client,
    ):
        task = client.submit("wait_for", {"gate": str(gate)}, options={"callback": receiver.url})
        with dashboard(server, f"#/tasks/{task.id}") as page:
            page.get_by_role("heading", name="Callbacks").wait_for()
            log = page.context.new_page()
            log.goto(f"{server.url}/#/callbacks")
            log.get_by_text("none yet").wait_for()
            asked: list[str] = []
            log.on("request", lambda sent: asked.append(sent.url) if "/v1/callbacks" in sent.url else None)
            gate.touch()
            for each in (page, log):
                each.locator("tr", has_text="task.done").get_by_text("PENDING").wait_for()
                each.locator("tr", has_text="task.done").get_by_text("500").wait_for()
            log.goto(f"{server.url}/#/")
            log.get_by_role("heading", name="Callbacks that fail").wait_for()
            log.get_by_role("row").filter(has_text=receiver.url.split("/")[2]).get_by_text("500").wait_for()
            log.goto(f"{server.url}/#/callbacks")
            log.get_by_text("PENDING").last.wait_for()
            is_well.set()
            page.get_by_role("button", name="Send task.done again").click()
            for each in (page, log):
                each.locator("tr", has_text="task.done").get_by_text("DELIVERED").wait_for()
            keep_screenshot(log, "callbacks")
            assert len(asked) < 10, asked
            log.close()
