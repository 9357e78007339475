"""Brings results to where clients want them: tried again within a budget, then given up and kept here."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

from offload.core.errors import EgressFailed, FileDoesNotExist, TryAgain
from offload.core.outcome import Failed
from offload.core.task import FileRef, Reason, Task, TaskError
from offload.engine.parts import Parts
from offload.engine.responses import MESSAGE_TYPE, ResponseNotSent, open_message

log = logging.getLogger("offload.uploads")

JSON_TYPE = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Load:
    """What is sent in one try."""

    chunks: AsyncIterator[bytes]
    size: int
    headers: dict[str, str]


async def upload(parts: Parts, task: Task, json: bytes, file: FileRef | None) -> Failed | None:
    """PUT a result to the task's `upload_to`; return None once it was confirmed, else why it never was."""
    limits = parts.uploading
    pause_seconds, tries_left = limits.pause_seconds, limits.tries_max
    while True:
        away: list[TryAgain] = []
        try:
            load = await _load(parts, task, json, file, away)
            with parts.traces.calling("push", task.traceparent, task):  # its URL may allow no header of ours
                await parts.egress.push(
                    task.upload_to, load.chunks, size=load.size, headers=load.headers, seconds_max=limits.seconds_max
                )
            parts.stats.brought("push", "done", load.size)
            return None
        except (EgressFailed, TryAgain) as error:
            temporary, wished = _judged(error)
            parts.stats.brought("push", "failed" if temporary else "refused")
            tries_left -= 0 if away else 1  # where our own files are away, the receiver is not to blame
            if not temporary or not tries_left:
                log.warning("a result was not taken: %s", error, extra={"task": task.id})
                return _given_up(error)
            log.info("a result was not taken, trying again: %s", away or error, extra={"task": task.id})
        except Exception as error:
            log.exception("a result cannot be sent", extra={"task": task.id})
            return _given_up(error)
        await asyncio.sleep(max(min(wished, limits.pause_seconds_max), pause_seconds * (0.5 + parts.chance() / 2)))
        pause_seconds = min(pause_seconds * 4, limits.pause_seconds_max)


def _judged(error: EgressFailed | TryAgain) -> tuple[bool, float]:
    """Tell whether a later try may work, and how long a pause is asked for."""
    return isinstance(error, TryAgain) or error.temporary, error.retry_seconds or 0.0


async def _load(parts: Parts, task: Task, json: bytes, file: FileRef | None, away: list[TryAgain]) -> _Load:
    """Return what the receiver gets; of a response, the body. Raise ResponseNotSent, TryAgain."""
    if file is None:
        return _Load(chunks=_whole(json), size=len(json), headers={"Content-Type": JSON_TYPE})
    start, headers = 0, {"Content-Type": file.type}
    if task.job in parts.request_jobs and file.type == MESSAGE_TYPE:
        try:
            message = await open_message(parts.blobs, file, FileDoesNotExist(file.blob))
        except TryAgain as error:
            away.append(error)
            raise
        await message.rest.aclose()
        if not 200 <= message.status <= 299:
            raise ResponseNotSent(message.status)
        start, headers = message.head_bytes, {**message.described, "Content-Type": message.content_type}
    return _Load(
        chunks=_noting(parts.blobs.read(file.blob, start=start), away), size=file.size - start, headers=headers
    )


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _noting(chunks: AsyncIterator[bytes], away: list[TryAgain]) -> AsyncIterator[bytes]:
    """Pass a file on, and keep what is said when it cannot be read now: on its way out the error may be wrapped."""
    try:
        async for chunk in chunks:
            yield chunk
    except TryAgain as error:
        away.append(error)
        raise


def _given_up(error: Exception) -> Failed:
    """The job is done, so it is not run again; its result stays where it is."""
    said = f"the result was not taken, and can be read at …/result: {error}"
    return Failed(reason=Reason.UPLOAD_FAILED, error=TaskError(type=type(error).__name__, message=said), retry=False)
