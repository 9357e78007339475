"""What people do on the dashboard, in a real browser."""

import json
import os
import re
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

from offload import Client
from offload.client import Options
from tests import papers
from tests.backends.free_port import free_port
from tests.browser.chromium import dashboard, keep_screenshot
from tests.servers import Server

JOBS = Path(__file__).with_name("jobs_for_pages.py")
BOTH_SHOWN = "() => [...document.querySelectorAll('.paper img')].filter((page) => page.naturalWidth > 500).length === 2"


def png(width: int, height: int) -> bytes:
    """Return a picture of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\x0b\x6e\x4f" * width) * height
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def drop(page: Any, name: str) -> None:
    """Let go of a file over the field that takes files."""
    made = "(name) => { const held = new DataTransfer(); held.items.add(new File(['x'], name)); return held; }"
    page.locator(".drop").dispatch_event("drop", {"dataTransfer": page.evaluate_handle(made, name)})


def gated(data: Path, gate: Path) -> Server:
    """Return a server whose jobs stay in their middle until there is a file."""
    return Server(JOBS, data, "--child-env", "TEST_GATE", env={"TEST_GATE": str(gate)})


def test_a_picture_goes_up_its_job_says_how_far_it_is_and_the_result_is_shown_in_place(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    (tmp_path / "green field.png").write_bytes(png(40, 30))
    with gated(tmp_path / "data", gate) as server, dashboard(server, "#/run") as page:
        page.get_by_role("link", name="copy").click()
        drop(page, "words.txt")
        page.get_by_role("button", name="Take away words.txt").click()
        page.get_by_label("image").set_input_files(tmp_path / "green field.png")
        page.get_by_label("width").fill("64")
        page.get_by_label("mode").select_option(label="fine")
        page.get_by_role("button", name="Run copy").click()
        page.get_by_text("part 4").first.wait_for()
        gate.touch()
        result = page.locator("figure.file img").last
        page.get_by_role("heading", name="Result").wait_for()
        page.wait_for_function(
            "() => [...document.querySelectorAll('figure.file img')].every((image) => image.naturalWidth === 40)"
        )
        assert result.get_attribute("alt") == "green field.png" or "result of" in str(result.get_attribute("alt"))
        assert page.locator("pre.log").inner_text().strip() == "copied green field.png"
        keep_screenshot(page, "run")


def test_a_wrong_input_is_said_at_its_field_and_nothing_is_sent(tmp_path: Path) -> None:
    with Server(JOBS, tmp_path / "data") as server, dashboard(server, "#/run/count", quiet=("422",)) as page:
        page.get_by_role("button", name="Run count").click()
        page.locator("#field-to-wrong").wait_for()
        assert page.get_by_label("to", exact=False).first.get_attribute("aria-invalid") == "true"
        page.goto(f"{server.url}/#/run/echo")
        page.get_by_label("value").fill("{not json")
        page.get_by_role("button", name="Run echo").click()
        page.get_by_text("value is not valid JSON").wait_for()
        with Client(server.url) as client:
            assert list(client.find()) == []


def test_outputs_log_and_progress_come_while_the_task_runs(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with gated(tmp_path / "data", gate) as server, Client(server.url) as client:
        with dashboard(server) as page:
            task = client.submit("count", to=40)
            page.goto(f"{server.url}/#/tasks/{task.id}")
            page.get_by_text("counted 3").wait_for()
            assert page.get_by_role("heading", name="Result").count() == 0
            page.get_by_role("heading", name="Outputs so far").wait_for()
            assert page.locator("ol.outputs li").count() >= 1
            gate.touch()
            page.get_by_role("heading", name="Result").wait_for()
            assert page.locator("ol.outputs").count() == 0, "the result says it all"
            assert "counted 40" in page.locator("pre.log").inner_text()
            states = page.locator("ol.timeline .badge").all_inner_texts()
            assert states == ["QUEUED", "RUNNING", "DONE"]


def test_a_killed_worker_is_seen_at_once_and_the_second_attempt_too(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with Server(JOBS, tmp_path / "data") as server, Client(server.url) as client:
        task = client.submit("wait_for", gate=str(gate))
        with dashboard(server) as page:
            row = page.get_by_role("row").filter(has=page.get_by_role("link", name=task.id[:8]))
            pid = int(row.get_by_role("rowheader").inner_text())
            os.kill(pid, signal.SIGKILL)
            died = page.locator(".fact", has_text="Workers that died").locator("dd")
            page.wait_for_function("(fact) => fact.textContent === '1'", arg=died.element_handle())
            row.get_by_role("link").wait_for()
            assert int(row.get_by_role("rowheader").inner_text()) != pid
            keep_screenshot(page, "overview")
            row.get_by_role("link").click()
            page.locator("ol.timeline li", has_text="attempt 2").wait_for()
            gate.touch()
            page.get_by_role("heading", name="Result").wait_for()
            assert page.locator("ol.timeline .badge").all_inner_texts() == [
                "QUEUED", "RUNNING", "QUEUED", "RUNNING", "DONE",
            ]  # fmt: skip
            keep_screenshot(page, "task")


def test_many_are_retried_at_once_after_a_word_that_says_how_many(tmp_path: Path) -> None:
    with Server(JOBS, tmp_path / "data") as server, Client(server.url) as client:
        failed = [client.submit("fail", why=f"reason {n}") for n in range(7)]
        fine = client.submit("echo", value=1)
        assert fine.result() == 1
        with dashboard(server, "#/tasks?status=FAILED") as page:
            page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 7")
            page.get_by_role("button", name="Retry…").click()
            dialog = page.get_by_role("dialog")
            dialog.get_by_text("Retry 7 tasks?").wait_for()
            keep_screenshot(page, "bulk")
            dialog.get_by_role("button", name="No, go back").click()
            assert {client.get(task.id).attempt for task in failed} == {1}
            page.get_by_label(f"Mark task {failed[2].id[:8]}").check()
            page.get_by_role("button", name="Retry…").click()
            page.get_by_role("button", name="Retry 1", exact=True).click()
            page.get_by_text("Retry: 1 done").wait_for()
            page.get_by_role("button", name="Retry…").click()
            page.get_by_role("button", name=re.compile("Retry [67]$")).click()
            page.get_by_text(re.compile("Retry: [67] done")).wait_for()
            page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 7")
        for task in failed:
            task.wait()
        assert min(client.get(task.id).attempt for task in failed) == 2
        assert client.get(fine.id).attempt == 1


def test_many_are_canceled_and_deleted(tmp_path: Path) -> None:
    with Server(JOBS, tmp_path / "data") as server, Client(server.url) as client:
        waiting = [client.submit("wait_for", gate="/nowhere/at/all") for _ in range(4)]
        with dashboard(server, "#/tasks?job=wait_for") as page:
            page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 4")
            page.get_by_role("button", name="Cancel…").click()
            page.get_by_role("button", name="Cancel 4").click()
            page.get_by_text("Cancel: 4 done").wait_for()
            page.wait_for_function("() => document.querySelectorAll('tbody .canceled').length === 4")
            page.get_by_label("Mark all on this page").check()
            page.get_by_role("button", name="Delete…").click()
            page.get_by_text("dropped for good").wait_for()
            page.get_by_role("button", name="Delete 4").click()
            page.get_by_text("Delete: 4 done").wait_for()
            page.wait_for_function("() => document.querySelectorAll('tbody .deleted').length === 4")
        assert {client.get(task.id).status for task in waiting} == {"DELETED"}


def test_tasks_are_found_by_what_they_are_and_by_their_id(tmp_path: Path) -> None:
    with Server(JOBS, tmp_path / "data") as server, Client(server.url) as client:
        said: Options = {"tags": {"customer": "42 a"}, "priority": 7}
        one = client.submit("echo", value=[1, None, "it's"], options=said)
        other = client.submit("echo", value=[{"a": 1, "b": "x"}, {"a": 2, "b": "y"}])
        assert one.result() and other.result()
        with dashboard(server, "#/tasks") as page:
            page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 2")
            page.get_by_label("Job").select_option("fail")
            page.get_by_text("No task fits.").wait_for()
            page.get_by_label("Job").select_option("")
            page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 2")
            page.get_by_label("Tag").fill("customer=42 a")
            client.submit("echo", value="news while somebody types")
            page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 3")
            page.get_by_role("button", name="Find").click()
            page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 1")
            page.get_by_role("link", name=one.id[:8]).wait_for()
            page.get_by_label("Created after").fill("2100-01-01T00:00")
            page.get_by_role("button", name="Find").click()
            page.get_by_text("No task fits.").wait_for()
            page.get_by_label("Id").fill(other.id.upper())
            page.get_by_role("button", name="Find").click()
            page.get_by_role("heading", name=f"Task {other.id[:8]}").wait_for()
            page.locator("table.data").first.wait_for()
            assert page.locator("table.data tbody tr").last.all_inner_texts() == ["2\ty"]
            page.goto(f"{server.url}/#/tasks/{one.id}")
            page.get_by_role("heading", name=f"Task {one.id[:8]}").wait_for()
            again = subprocess.run(
                ["sh", "-c", page.locator("pre", has_text="curl").inner_text()], capture_output=True, check=True
            )
            like = client.get(json.loads(again.stdout)["id"])
            assert (like.input, like.priority) == ({"value": [1, None, "it's"]}, 7)
            page.get_by_role("button", name="Python").click()
            told = page.locator("pre", has_text="import").inner_text()
            assert 'client.submit("echo", value=' in told
            done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
            assert done.stdout == '[1, None, "it\'s"]\n'
            tagged = [task.priority for task in client.find(tags=said["tags"])]
            assert tagged == [7, 7, 7], "the first, curl's and Python's"


def test_a_queue_is_paused_and_resumed(tmp_path: Path) -> None:
    with Server(JOBS, tmp_path / "data") as server, Client(server.url) as client, dashboard(server) as page:
        page.get_by_role("button", name="Pause queue default").click()
        page.get_by_role("button", name="Resume queue default").wait_for()
        task = client.submit("echo", value="late")
        page.locator(".fact", has_text="Waiting").get_by_text("1", exact=True).wait_for()
        page.get_by_role("button", name="Resume queue default").click()
        assert task.result() == "late"


def test_a_schedule_is_made_paused_and_deleted(tmp_path: Path) -> None:
    with Server(JOBS, tmp_path / "data") as server, dashboard(server, "#/schedules", quiet=("400",)) as page:
        page.get_by_text("Nothing runs by the clock yet.").wait_for()
        page.get_by_label("Name").fill("often")
        page.get_by_label("Job").select_option("echo")
        page.get_by_label("Every").fill("never")
        page.get_by_role("button", name="Save").click()
        page.get_by_role("alert").get_by_text("every").first.wait_for()
        page.get_by_label("Input, as JSON").fill('{"value": "tick"}')
        page.get_by_label("Every").fill("1s")
        page.get_by_role("button", name="Save").click()
        row = page.get_by_role("row").filter(has_text="often")
        row.get_by_text("DONE").wait_for()
        keep_screenshot(page, "schedules")
        page.get_by_role("button", name="Pause schedule often").click()
        row.get_by_text("paused").wait_for()
        page.get_by_role("button", name="Delete schedule often").click()
        page.get_by_role("button", name="Delete it").click()
        page.get_by_text("Nothing runs by the clock yet.").wait_for()


def make_key(data: Path, *options: str) -> str:
    command = [sys.executable, "-m", "offload", "keys", "create", "--data", str(data), *options]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"ofl_\w+", made.stdout)
    assert found, made.stdout
    return found[0]


def test_with_keys_one_signs_in_and_sees_what_the_key_may(tmp_path: Path) -> None:
    data = tmp_path / "data"
    admin = make_key(data, "--owner", "ops", "--scopes", "admin")
    reader = make_key(data, "--owner", "anna", "--scopes", "read")
    with Server(JOBS, data) as server, Client(server.url, api_key=admin) as client:
        assert client.submit("echo", value=1).result() == 1
        with dashboard(server, quiet=("401", "403")) as page:
            page.get_by_label("A key of this server").fill("ofl_wrong")
            page.get_by_role("button", name="Sign in").click()
            page.get_by_role("alert").wait_for()
            keep_screenshot(page, "sign-in")
            page.get_by_label("A key of this server").fill(reader)
            page.get_by_role("button", name="Sign in").click()
            page.get_by_role("heading", name="Overview").wait_for()
            assert page.get_by_role("link", name="Keys").count() == 0
            assert page.get_by_role("button", name="Pause queue default").count() == 0
            page.get_by_role("link", name="Tasks").click()
            page.get_by_text("No task fits.").wait_for()
            assert page.get_by_role("button", name="Delete…").count() == 0
            page.get_by_role("button", name="Sign out").click()
            page.get_by_label("A key of this server").fill(admin)
            page.get_by_role("button", name="Sign in").click()
            page.get_by_role("link", name="Tasks").click()
            page.locator("tbody a.id").first.click()
            page.get_by_text('-H "Authorization: Bearer $OFFLOAD_KEY"').wait_for()
            page.get_by_role("link", name="Keys").click()
            page.get_by_role("cell", name="anna").wait_for()
            keep_screenshot(page, "keys")
            page.reload()
            page.get_by_role("cell", name="anna").wait_for()
            assert reader not in page.content() and admin not in page.content()
            assert page.evaluate("() => [document.cookie, localStorage.length, sessionStorage.length]") == ["", 0, 0]
            anna = page.get_by_role("row").filter(has_text="anna")
            anna.get_by_role("button").click()
            page.get_by_role("button", name="Revoke it").click()
            anna.get_by_text("revoked").wait_for()


def test_the_page_comes_back_after_the_server_and_remembers(tmp_path: Path) -> None:
    data = tmp_path / "data"
    port = str(free_port())
    first = Server(JOBS, data, "--port", port).start()
    with Client(first.url) as client:
        assert client.submit("echo", value=1).result() == 1
    with dashboard(first, quiet=("ERR_", "Failed to load")) as page:
        page.get_by_text("live", exact=True).wait_for()
        first.terminate()
        page.get_by_text("connection lost").wait_for()
        with Server(JOBS, data, "--port", port):
            page.get_by_text("live", exact=True).wait_for()
            page.locator("figure.chart").first.wait_for()
            page.get_by_role("link", name="Tasks").click()
            page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 1")


KINDS = [
    ("a.csv", "text/csv", 'name,"n, m"\n"a ""b""",1\r\nc,2', "table.data"),
    ("a.json", "application/json", '{"a": [1, 2]}', "pre.value"),
    ("a.txt", "text/plain", "words", "pre.value"),
    ("a.wav", "audio/wav", "RIFF", "audio"),
    ("a.mp4", "video/mp4", "ftyp", "video"),
]


def test_results_are_shown_as_what_they_are(tmp_path: Path) -> None:
    with Server(JOBS, tmp_path / "data") as server, Client(server.url) as client, dashboard(server) as page:
        for name, kind, text, shown in KINDS:
            task = client.submit("save", {"text": text, "name": name, "type": kind})
            task.wait()
            page.goto(f"{server.url}/#/tasks/{task.id}")
            page.get_by_role("heading", name=f"Task {task.id[:8]}").wait_for()
            page.locator("figure.file").locator(shown).wait_for()
            if kind == "text/csv":
                assert page.locator("figure.file th").all_inner_texts() == ["name", "n, m"]
                assert page.locator("figure.file td").all_inner_texts() == ['a "b"', "1", "c", "2"]


def test_pages_of_pdf_files_are_shown_as_pictures_and_of_bad_ones_why_not(tmp_path: Path) -> None:
    good = papers.paper("The first page", "The second page", "The third page")
    (tmp_path / "three pages.pdf").write_bytes(good)
    with Server(JOBS, tmp_path / "data") as server, Client(server.url) as client:
        both = client.submit("copy", image=tmp_path / "three pages.pdf")
        bad = [
            (client.submit("save", {"text": data.decode("latin-1"), "name": "a.pdf", "type": "application/pdf"}), said)
            for data, said in (
                (papers.locked(), "no preview of this file: it is protected by a password"),
                (b"no PDF at all", "no preview of this file: it is damaged, or no PDF file"),
            )
        ]
        for task in (both, *(task for task, _ in bad)):
            task.wait()
        with dashboard(server, f"#/tasks/{both.id}", quiet=("status of 422",)) as page:
            page.wait_for_function(BOTH_SHOWN)
            result = page.locator("figure.file").last
            result.locator("label", has_text="of 3").wait_for()
            assert result.get_by_role("button", name="Previous page").is_disabled()
            result.get_by_role("button", name="Next page").click()
            second = page.get_by_role("img", name="Page 2 of")
            second.wait_for()
            assert second.get_attribute("src") == f"/v1/tasks/{both.id}/result/preview?page=2"
            result.get_by_label("Page").fill("3")
            result.get_by_label("Page").press("Enter")
            page.get_by_role("img", name="Page 3 of").wait_for()
            assert result.get_by_role("button", name="Next page").is_disabled()
            keep_screenshot(page, "pdf")
            gate = tmp_path / "gate"
            running = client.submit("attend", paper=tmp_path / "three pages.pdf", gate=str(gate))
            page.goto(f"{server.url}/#/tasks/{running.id}")
            number = page.locator("figure.file").get_by_label("Page")
            number.fill("")
            gate.touch()
            page.get_by_text("the gate is open").first.wait_for()
            assert number.input_value() == ""  # the news did not take away what is being typed
            number.type("7")
            number.press("Enter")
            page.get_by_role("img", name="Page 3 of").wait_for()
            assert number.input_value() == "3"
            gate.unlink()
            for task, said in bad:
                page.goto(f"{server.url}/#/tasks/{task.id}")
                page.locator("figure.file").get_by_text(said).wait_for()
                assert page.locator("figure.file a").get_attribute("download") is not None
        assert client.submit("echo", value="well").result() == "well"
