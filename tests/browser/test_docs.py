"""The reference page in a real browser, without keys and with them."""

from pathlib import Path

from offload.client import Client
from tests.browser.pages import browser, needs_chromium
from tests.servers import Server

JOBS = Path(__file__).parents[1] / "clients" / "jobs_for_clients.py"
pytestmark = needs_chromium


def test_without_keys_the_reference_is_there_at_once(tmp_path: Path) -> None:
    with Server(JOBS, tmp_path / "data", "--workers", "1") as server, browser() as chromium:
        page = chromium.new_page()
        page.goto(f"{server.url}/docs")
        page.get_by_text("/v1/jobs/add").first.wait_for()
        assert not page.locator("#unlock").is_visible()


def test_with_keys_the_reference_asks_for_one_and_uses_it(tmp_path: Path) -> None:
    with Server(JOBS, tmp_path / "data", "--workers", "1") as server, browser() as chromium:
        with Client(server.url) as client:
            made = client.create_key("anna", ["submit", "read"])
        page = chromium.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(f"{server.url}/docs")
        page.locator("#key").wait_for()
        assert "/v1/jobs/add" not in page.content()
        page.locator("#key").fill("ofl_wrong")
        page.get_by_role("button", name="Show").click()
        page.get_by_text("that key is not valid").wait_for()
        page.locator("#key").fill(made.key)
        page.get_by_role("button", name="Show").click()
        page.locator("#key").wait_for(state="hidden")
        view = page.locator('[id="post-/v1/jobs/add"]')
        view.locator("summary").first.click()
        view.get_by_role("button", name="Send").click()
        view.locator(
            "pre[aria-live]", has_text='"status": "QUEUED"'
        ).wait_for()  # what is tried out is asked with the key too
        assert page.evaluate("() => JSON.stringify([document.cookie, localStorage.length, sessionStorage.length])") == (
            '["",0,0]'
        )
        assert not wrong
