"""What a job returned, made ready to travel: JSON in the frame, or a file in the results directory."""

import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from offload.core.files import File, as_file
from offload.core.job import Job
from offload.core.outcome import LocalFile
from offload.core.task import Reason
from offload.workers.child.failures import ResultRefused, clean
from offload.workers.protocol import OUTPUT_BYTES_MAX, RESULT_INLINE_BYTES_MAX, result_path

NAME_CHARACTERS_MAX = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A result that can be sent."""

    json: bytes | None = None
    file: LocalFile | None = None


class Results:
    """Turns values into results; owns the names in the results directory until the server has heard of them."""

    def __init__(self, *, directory: Path, child: str, bytes_max: int) -> None:
        self._directory = directory
        self._child = child
        self._bytes_max = bytes_max

    def ready(self, job: Job, ticket: int, value: object, scratch: Path) -> Ready:
        """Return the value as it travels, or raise ResultRefused; `scratch` is the attempt's directory."""
        if (file := as_file(value)) is not None:
            return Ready(file=self._moved(job, ticket, file, scratch))
        return self.from_json(job, ticket, _json(job.schema.dump_result, value))

    def from_json(self, job: Job, ticket: int, json: bytes) -> Ready:
        """Return JSON as it travels: inline when it is small."""
        self._check_size(job, len(json))
        if len(json) <= RESULT_INLINE_BYTES_MAX:
            return Ready(json=json)
        path = self._path(ticket)
        path.write_bytes(json)
        return Ready(file=LocalFile(path=str(path), name="result.json", type="application/json", size=len(json)))

    def drop(self, ticket: int) -> None:
        """Remove what was written for a ticket that ends without a result."""
        with suppress(OSError):
            self._path(ticket).unlink(missing_ok=True)

    def bytes_max(self, job: Job) -> int:
        return self._bytes_max if job.result_bytes_max is None else job.result_bytes_max

    def _moved(self, job: Job, ticket: int, file: File, scratch: Path) -> LocalFile:
        try:
            source = Path(os.path.realpath(file.path))
            found = source.stat()
        except OSError as error:
            raise ResultRefused(Reason.ERROR, f"the returned file cannot be read: {error}") from error
        if not stat.S_ISREG(found.st_mode):
            raise ResultRefused(Reason.ERROR, f"the returned {str(file.path)!r} is not a file")
        self._check_size(job, found.st_size)
        target = self._path(ticket)
        if source.is_relative_to(scratch) and found.st_nlink == 1:
            os.replace(source, target)
        else:  # theirs to keep: an input, or a file of their own
            shutil.copyfile(source, target)
        name, media_type = clean(file.name)[:NAME_CHARACTERS_MAX], clean(file.type)[:NAME_CHARACTERS_MAX]
        return LocalFile(path=str(target), name=name, type=media_type, size=target.stat().st_size)

    def _check_size(self, job: Job, size: int) -> None:
        if size > (limit := self.bytes_max(job)):
            raise ResultRefused(
                Reason.RESULT_TOO_LARGE,
                f"the result has {size:,} bytes; the limit of job {job.name!r} is {limit:,} bytes",
            )

    def _path(self, ticket: int) -> Path:
        return result_path(self._directory, self._child, ticket)


class Outputs:
    """The values a generator yields: each is JSON of its own, together they are the result."""

    def __init__(self, job: Job, bytes_max: int) -> None:
        self._job = job
        self._bytes_max = bytes_max
        self._items: list[bytes] = []
        self._bytes = 2

    def add(self, value: object) -> bytes:
        """Return the value's JSON, or raise ResultRefused when it, or all so far, is too much."""
        if as_file(value) is not None:
            raise ResultRefused(Reason.ERROR, "a generator cannot yield a file; return one, or yield JSON values")
        item = _json(self._job.schema.dump_output, value)
        if len(item) > OUTPUT_BYTES_MAX:
            raise ResultRefused(
                Reason.RESULT_TOO_LARGE,
                f"a yielded value has {len(item):,} bytes; the limit is {OUTPUT_BYTES_MAX:,} bytes",
            )
        self._bytes += len(item) + 1
        if self._bytes > self._bytes_max:
            raise ResultRefused(
                Reason.RESULT_TOO_LARGE,
                f"the yielded values have more than the {self._bytes_max:,} bytes of job {self._job.name!r}'s limit",
            )
        self._items.append(item)
        return item

    def json(self) -> bytes:
        return b"[" + b",".join(self._items) + b"]"


def _json(dump: Callable[[object], bytes], value: object) -> bytes:
    try:
        return dump(value)
    except ValueError as error:
        raise ResultRefused(Reason.ERROR, str(error)) from error
