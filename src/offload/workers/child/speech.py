"""How a running attempt speaks to the server: progress and yielded values, coalesced to a few frames a second."""

import threading
import time
from collections.abc import Callable

from offload.core.task import Progress, Seconds
from offload.workers.protocol import SAID_BYTES_MAX, SAID_OUTPUTS_MAX, SAID_SECONDS, Said

Send = Callable[[Said], None]


class Speech:
    """What one attempt says before it ends. May be used by any thread of the job."""

    def __init__(self, ticket: int, send: Send, later: "Later", log: Callable[[str], None] | None = None) -> None:
        self._ticket = ticket
        self._send = send
        self._later = later
        self._log_elsewhere = log
        self._lock = threading.RLock()  # a signal may come while it is held, and what it interrupts may speak again
        self._progress: Progress | None = None
        self._outputs: list[bytes] = []
        self._log: list[bytes] = []
        self._bytes = 0
        self._said_at: Seconds = 0.0
        self._ended = False

    def progress(self, progress: Progress) -> None:
        with self._lock:
            self._progress = progress
            self._say_soon()

    def output(self, item: bytes) -> Seconds:
        """Add a yielded value; return for how long the generator should pause so that others keep up."""
        with self._lock:
            self._outputs.append(item)
            self._bytes += len(item)
            full = len(self._outputs) >= SAID_OUTPUTS_MAX or self._bytes >= SAID_BYTES_MAX
            pause = self._wait_seconds() if full else 0.0
            self._say_soon(now=full)
            return pause

    def log(self, text: str) -> None:
        if self._log_elsewhere is not None:
            self._log_elsewhere(text if text.endswith("\n") else text + "\n")
        else:
            self.text(text if text.endswith("\n") else text + "\n")

    def text(self, text: str) -> None:
        """Add output that the pipe cannot tell apart from other attempts'."""
        data = text.encode("utf-8", "backslashreplace")
        with self._lock:
            for start in range(0, len(data), SAID_BYTES_MAX):
                self._log.append(data[start : start + SAID_BYTES_MAX])
                self._bytes += len(self._log[-1])
                self._say_soon(now=self._bytes >= SAID_BYTES_MAX)

    def say(self) -> None:
        """Send what was held back."""
        with self._lock:
            if self._ended or not (self._progress or self._outputs or self._log):
                return
            said = Said(self._ticket, self._progress, self._outputs, b"".join(self._log))
            self._progress, self._outputs, self._log, self._bytes = None, [], [], 0
            self._said_at = time.monotonic()
            self._send(said)

    def say_when_due(self) -> None:
        """Send what was held back, unless something was sent so lately that it is still too soon."""
        with self._lock:
            if self._progress or self._outputs or self._log:
                self._say_soon()

    def end(self) -> None:
        """Send the rest; whatever a stray thread says from now on is dropped."""
        with self._lock:
            self.say()
            self._ended = True

    def _say_soon(self, *, now: bool = False) -> None:
        if self._ended:
            self._progress, self._outputs, self._log, self._bytes = None, [], [], 0
        elif now or self._wait_seconds() <= 0:
            self.say()
        else:
            self._later.wake(self)

    def _wait_seconds(self) -> Seconds:
        return self._said_at + SAID_SECONDS - time.monotonic()


class Later:
    """A thread, started when first needed, that sends what was said too soon after something else."""

    def __init__(self) -> None:
        self._waiting: set[Speech] = set()
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._thread: threading.Thread | None = None

    def wake(self, speech: Speech) -> None:
        if speech in self._waiting:
            return
        with self._lock:
            self._waiting.add(speech)
        self._news.set()
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="offload-speech", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            time.sleep(SAID_SECONDS)
            with self._lock:
                waiting, self._waiting = self._waiting, set()
            for speech in waiting:
                speech.say_when_due()
