"""Runs every job of the gallery through a real server, and keeps what comes back in demo-output/."""

import contextlib
import functools
import http.server
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from demo_models import mail, objects, postcards, reading, speech
from demo_output import DATA, OUTPUT, TASK_SECONDS, DemoFailed, keep, rejected, say, shown, size
from stand_ins import MailCatcher, PrintShop, running

import offload

HERE = Path(__file__).resolve().parent
PHOTOGRAPHS = sorted(DATA.glob("*.jpg"))
START_SECONDS = 60
STOP_SECONDS = 60


def main() -> int:
    """Run the demo; 0 when everything in it worked."""
    OUTPUT.mkdir(exist_ok=True)
    log = OUTPUT / "server.log"
    catcher, shop = MailCatcher(), PrintShop(orders_per_second=3)
    theirs = {"SMTP_URL": catcher.url, "SMTP_PAUSE_SECONDS": "1", "POSTCARD_SHOP_URL": shop.url}
    try:
        with (
            running(catcher),
            running(shop),
            tempfile.TemporaryDirectory(prefix="offload-demo-") as data,
            serving(data, log, theirs) as url,
        ):
            say(f"the server runs at {url} (its log: {shown(log)})")
            with offload.Client(url) as client:
                for show in (photographs, sheet, reports, numbers, canceled, broken, pages):
                    show(client)
                mail(client, catcher)
                postcards(client, shop)
                for show in (speech, objects, reading):
                    show(client)
    except (DemoFailed, offload.OffloadError) as error:
        print(f"\nThe demo failed: {type(error).__name__}: {error}", file=sys.stderr)
        print("".join(log.read_text(errors="replace").splitlines(keepends=True)[-15:]), file=sys.stderr)
        return 1
    say("the server has stopped")
    starts = [name for name in ("sheet.jpg", "mauna_loa_co2.html", "astronaut-found.jpg") if (OUTPUT / name).exists()]
    print(f"\nEverything worked. Look into {shown(OUTPUT)}/; good places to start: {', '.join(starts)}.")
    print("Next: `make serve` keeps the gallery running; docs/tutorial.md makes a service of your own.")
    return 0


def photographs(client: offload.Client) -> None:
    """Submit all photographs at once, then collect them."""
    say(f"resize: {len(PHOTOGRAPHS)} photographs, handed in together")
    tasks = [(path, client.submit("resize", image=path, width=320)) for path in PHOTOGRAPHS]
    for path, task in tasks:
        saved = task.result(TASK_SECONDS, progress=True).save(OUTPUT)
        print(f"    {path.name}, {size(path)}  ->  {shown(saved)}, {size(saved)}")


def sheet(client: offload.Client) -> None:
    say("thumbnail_sheet: many files in, one out")
    result = client.call("thumbnail_sheet", images=PHOTOGRAPHS, wait_seconds=TASK_SECONDS, progress=True)
    keep(result)


def reports(client: offload.Client) -> None:
    say("report: 2,284 weeks of CO2 measurements become a page and a PDF")
    for format in ("html", "pdf"):
        task = client.submit("report", data=DATA / "mauna_loa_co2.csv", title="CO2 at Mauna Loa", format=format)
        keep(task.result(TASK_SECONDS, progress=True))


def numbers(client: offload.Client) -> None:
    say("primes: nothing but CPU, while the server goes on answering")
    task = client.submit("primes", limit=500_000_000)
    asked, slowest = 0, 0.0
    while not task.status().final:
        began = time.monotonic()
        client.queues()
        asked, slowest = asked + 1, max(slowest, time.monotonic() - began)
        time.sleep(0.05)
    found = task.result(TASK_SECONDS)
    print(f"    {found['count']:,} below {found['limit']:,}, the largest {found['largest']:,}")
    print(f"    meanwhile the server answered {asked} other requests, the slowest in {slowest * 1000:.0f} ms")
    if found["count"] != 26_355_867:
        raise DemoFailed(f"there are 26,355,867 prime numbers below {found['limit']:,}, not {found['count']:,}")


def canceled(client: offload.Client) -> None:
    say("cancel: primes below 1,000,000,000,000 would take a while; stop it")
    task = client.submit("primes", limit=10**12)
    for event in task.iter_events():
        if event.kind == "progress":
            break
    task.cancel()
    state = task.wait(TASK_SECONDS)
    print(f"    {state.status}")
    if state.status != "CANCELED":
        raise DemoFailed(f"the canceled task is {state.status}")


def broken(client: offload.Client) -> None:
    say("half a photograph is refused, and says why")
    half = (DATA / "rocket.jpg").read_bytes()[:20_000]
    rejected(client, "resize", image=offload.File(half, name="half-a-rocket.jpg"))


def pages(client: offload.Client) -> None:
    say("fetch_many: async, pages fetched side by side (from a server of this demo, on this machine)")
    with page_server() as address:
        urls = [f"{address}/{path.name}" for path in sorted(DATA.iterdir())] + [f"{address}/missing"]
        found = client.call("fetch_many", urls=urls, wait_seconds=TASK_SECONDS, progress=True)
    for page in sorted(found, key=lambda page: str(page["url"])):
        print(f"    {page['status']}  {page['bytes']:>9,} bytes  {page['seconds'] * 1000:5.0f} ms  {page['url']}")
    if len(found) != len(urls):
        raise DemoFailed(f"{len(urls)} pages were asked for, {len(found)} came back")


@contextlib.contextmanager
def serving(data: str, log: Path, environment: dict[str, str]) -> Iterator[str]:
    """Start `offload serve` on a free port; stop it with SIGTERM, as a service manager would."""
    with log.open("wb") as errors:
        command = [offload_command(), "serve", str(HERE / "everything.py"), "--port", "0", "--data", data]
        command += ["--child-env", ",".join(environment)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **environment}
        )
    try:
        yield address_of(process)
        process.send_signal(signal.SIGTERM)
        if (code := process.wait(STOP_SECONDS)) != 0:
            raise DemoFailed(f"the server ended with exit code {code}")
    except subprocess.TimeoutExpired:
        raise DemoFailed(f"the server did not stop within {STOP_SECONDS} s of SIGTERM") from None
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def address_of(process: "subprocess.Popen[str]") -> str:
    """Return the address on the first line that the server prints."""
    assert process.stdout is not None
    too_slow = threading.Timer(START_SECONDS, process.kill)
    too_slow.start()
    line = process.stdout.readline()
    too_slow.cancel()
    before, _, url = line.strip().partition("offload serving at ")
    if before or not url:
        raise DemoFailed(f"the server did not start; it said {line!r}")
    return url


def offload_command() -> str:
    beside = Path(sys.executable).with_name("offload")
    found = str(beside) if beside.exists() else shutil.which("offload")
    if found is None:
        raise DemoFailed("there is no `offload` command; install the project first: make demo does")
    return found


@contextlib.contextmanager
def page_server() -> Iterator[str]:
    """Serve examples/data on a free port of this machine."""
    serve = functools.partial(QuietPages, directory=str(DATA))
    with PageServer(("127.0.0.1", 0), serve) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class PageServer(http.server.ThreadingHTTPServer):
    request_queue_size = 100  # the default, 5, makes a sixth caller wait a second


class QuietPages(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the demo tells what it fetched."""


if __name__ == "__main__":
    sys.exit(main())
