"""Reading file results: in pieces, resumed where a connection broke off, never half a file under its final name."""

import contextlib
import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO
from urllib.parse import quote

from offload.client.effects import Answer, Flow, Read, Request, Sleep, Unreachable, Work
from offload.client.errors import ServerUnreachable
from offload.client.retries import Rules, backoff_seconds, exchange
from offload.client.waiting import FoundFile, head

WRITE_BYTES = 1024**2


def save(rules: Rules, file: FoundFile, path: Path) -> Flow[Path]:
    """Write a result to a path, or into a directory under its own name; an older file is replaced at the end."""
    target = path / file.name if path.is_dir() else path
    part, name = yield Work(lambda: _new_part(target))
    try:
        with part:
            yield from copy(rules, file, part)
        yield Work(lambda: os.replace(name, target))
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
    return target


def save_result(rules: Rules, task_id: str, path: Path) -> Flow[Path]:
    """Write whatever a task's result is, JSON too, byte for byte as the server has it."""
    found = yield from head(rules, task_id)
    return (yield from save(rules, found, path))


def read_bytes(rules: Rules, file: FoundFile) -> Flow[bytes]:
    """Return the whole file."""
    if file.data is not None:
        return file.data
    with tempfile.SpooledTemporaryFile(max_size=64 * WRITE_BYTES) as spool:
        yield from copy(rules, file, spool)
        spool.seek(0)
        return spool.read()


def copy(rules: Rules, file: FoundFile, target: IO[bytes]) -> Flow[None]:
    """Write the file's bytes to an open file that can be cut back to its beginning."""
    if file.data is not None:
        data = file.data
        yield Work(lambda: target.write(data))
        return
    done, failures, tag = 0, 0, ""
    while True:
        answer = yield from exchange(rules, _rest(file.task_id, done, tag))
        if (
            answer.status != 206 and done
        ):  # another file than before, or a server that cannot resume: from the beginning
            yield Work(lambda: _cut(target))
            done = 0
        tag = answer.headers.get("etag", "")
        before = done
        try:
            done = yield from _pieces(answer, target, done)
            return
        except _BrokeOff as broken:
            done = broken.done
            failures = 1 if done > before else failures + 1
            if failures > rules.retries:
                raise ServerUnreachable(f"{rules.url}: {broken.__cause__}") from broken.__cause__
            yield Sleep(backoff_seconds(rules, failures, None))


class _BrokeOff(Exception):
    def __init__(self, done: int) -> None:
        self.done = done


def _pieces(answer: Answer, target: IO[bytes], done: int) -> Flow[int]:
    held: list[bytes] = []
    size = 0
    while True:
        try:
            piece: bytes = yield Read(answer.stream)
        except Unreachable as broken:
            yield _written(target, held)
            raise _BrokeOff(done + size) from broken
        held.append(piece)
        size += len(piece)
        if size >= WRITE_BYTES or not piece:
            yield _written(target, held)
            done, size, held = done + size, 0, []
        if not piece:
            return done


def _written(target: IO[bytes], pieces: list[bytes]) -> Work:
    return Work(lambda: target.write(b"".join(pieces)))


def _rest(task_id: str, done: int, tag: str) -> Request:
    headers: Mapping[str, str] = {}
    if done and tag and not tag.startswith("W/"):
        headers = {"Range": f"bytes={done}-", "If-Range": tag}
    return Request(method="GET", path=f"/v1/tasks/{quote(task_id, safe='')}/result", headers=headers, streams=True)


def _cut(target: IO[bytes]) -> None:
    target.seek(0)
    target.truncate()


def _new_part(target: Path) -> tuple[IO[bytes], str]:
    """Open an unfinished file beside the target, so that finishing it is a rename."""
    name = str(target.parent / f".{target.name[:40]}.{secrets.token_hex(4)}.part")
    return open(name, "xb"), name
