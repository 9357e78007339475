"""A worker for offload in plain Python: leases tasks, keeps them by heartbeats, and gives results back.

OFFLOAD_URL says where the server is, OFFLOAD_API_KEY who asks, if it has keys. SIGTERM: finish what runs, take no more.
"""

import contextlib
import json
import os
import random
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from types import FrameType
from typing import Any
from urllib.parse import urljoin

BASE = os.environ.get("OFFLOAD_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("OFFLOAD_API_KEY")
TRIES = 8

Answer = tuple[int, bytes]


class Bad(Exception):
    """The input cannot be worked on, however often it is tried."""


class Stopped(Exception):
    """The task was canceled, or the lease was lost."""


def count(data: bytes, seconds: float, keeper: "Keeper") -> dict[str, int]:
    """Do the work; look now and then whether it is still wanted, and say how far it is."""
    text = decoded(data)
    keeper.log(f"counting {len(data)} bytes")
    begun = time.monotonic()
    while (spent := time.monotonic() - begun) < seconds:
        keeper.progress = {"fraction": spent / seconds}
        if keeper.stop.wait(min(0.05, seconds - spent)):
            raise Stopped
    return {"bytes": len(data), "lines": text.count("\n"), "words": len(text.split())}


def decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Bad(f"not a text: {error}") from None


class Keeper(threading.Thread):
    """Keeps one lease from a thread of its own, so that long work does not starve the heartbeats."""

    def __init__(self, lent: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self.lent = lent
        self.stop = threading.Event()
        self.ended = threading.Event()
        self.canceled = False
        self.progress: dict[str, Any] | None = None

    def run(self) -> None:
        while not self.ended.wait(self.lent["heartbeat_seconds"]):
            try:
                status, body = ask("POST", f"/v1/leases/{self.lent['lease']}/heartbeat", {"progress": self.progress})
            except OSError:
                continue  # the server may be back before the lease ends
            if status in (404, 409) or (status == 200 and json.loads(body)["canceled"]):
                self.canceled = status == 200
                self.stop.set()
                return

    def log(self, line: str) -> None:
        """Add a line to the task's log; the work goes on if that fails."""
        with contextlib.suppress(OSError):
            ask("POST", f"/v1/leases/{self.lent['lease']}/log", f"{line}\n".encode(), {"Content-Type": "text/plain"})


def work(lent: dict[str, Any]) -> None:
    """Run one task, and tell how it ended."""
    lease = f"/v1/leases/{lent['lease']}"
    keeper = Keeper(lent)
    keeper.start()
    try:
        status, data = patiently("GET", lent["download_from"]["text"], keeper=keeper)
        if status != 200:
            raise Stopped if status == 409 else OSError(f"the input cannot be read: {status} {data.decode()}")
        if lent["job"] == "shout":
            shouted = decoded(data).upper().encode()
            told = {"Content-Type": "text/plain", "Content-Disposition": 'attachment; filename="shouted.txt"'}
            status, answer = patiently("PUT", lent["upload_to"], shouted, told, keeper=keeper)
            if status == 200:  # only what was taken may be said to be done
                status, answer = patiently("POST", f"{lease}/done", keeper=keeper)
        else:
            found = count(data, lent["input"].get("seconds", 0), keeper)
            status, answer = patiently("POST", f"{lease}/done", found, keeper=keeper)
        if status == 409:
            raise Stopped
        if status not in (200, 202):
            raise Bad(f"the result was not taken: {status} {answer.decode()}")
        say("done", lent)
    except Stopped:
        if keeper.canceled:
            patiently("POST", f"{lease}/failed", {"error": "canceled"})
        say("canceled" if keeper.canceled else "lost", lent)
    except Exception as error:
        told_error = {"type": type(error).__name__, "message": str(error)[:10_000]}
        patiently("POST", f"{lease}/failed", {"error": told_error, "retry": not isinstance(error, Bad)})
        say("failed", lent)
    finally:
        keeper.ended.set()


def ask(method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, seconds: float = 30) -> Answer:
    """Make one request. Raise OSError when there is no answer."""
    fields = dict(headers or {})
    if body is not None and not isinstance(body, bytes):
        body, fields["Content-Type"] = json.dumps(body).encode(), "application/json"
    if KEY:
        fields["Authorization"] = f"Bearer {KEY}"
    request = urllib.request.Request(urljoin(BASE, path), data=body, headers=fields, method=method)
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def patiently(
    method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, keeper: Keeper | None = None
) -> Answer:
    """Make a request again while the server cannot be reached or is too busy; all that is said here may be repeated."""
    for tries in range(TRIES):
        if keeper is not None and keeper.stop.is_set():
            raise Stopped
        try:
            status, answer = ask(method, path, body, headers, seconds=120)
        except OSError as error:
            status, answer = 503, str(error).encode()
        if status not in (429, 500, 502, 503, 504, 507) or tries == TRIES - 1:
            return status, answer
        time.sleep(pause_seconds(tries))
    raise AssertionError("the last try returns")


def pause_seconds(tries: int) -> float:
    """Return how long to wait: at random, and longer each time, so that many workers do not come back at once."""
    return random.uniform(0.05, min(10.0, 0.2 * 2**tries))


def say(what: str, lent: dict[str, Any]) -> None:
    print(what, lent["task"], lent["attempt"], flush=True)


class Draining(Exception):
    """SIGTERM came while nothing ran."""


class Worker:
    def __init__(self) -> None:
        self.draining = False
        self.waits = False

    def drain(self, number: int, frame: FrameType | None) -> None:
        self.draining = True
        if self.waits:
            raise Draining  # hanging up tells the server: what it was about to lend goes back

    def run(self) -> None:
        tries = 0
        print("ready", flush=True)
        while not self.draining:
            status, body = self.lease()
            if status == 200:
                for lent in json.loads(body):
                    say("took", lent)
                    work(lent)
            if status in (200, 204):
                tries = 0
                continue
            print(f"no lease: {status} {body.decode('utf-8', 'replace')[:500]}", file=sys.stderr, flush=True)
            if status in (400, 401, 403, 404):
                sys.exit(1)  # asking again will not help
            time.sleep(pause_seconds(tries))
            tries = min(tries + 1, 10)

    def lease(self) -> Answer:
        try:
            self.waits = True
            return ask("POST", "/v1/leases", {"queues": ["text"], "max": 1, "wait": 20}, seconds=60)
        except OSError as error:
            return 503, str(error).encode()
        finally:
            self.waits = False


if __name__ == "__main__":
    worker = Worker()
    signal.signal(signal.SIGTERM, worker.drain)
    try:
        worker.run()
    except Draining:
        pass
    print("drained", flush=True)
