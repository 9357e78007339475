"""Brings results to where clients want them: tried again within a budget, then given up and kept here."""

import asyncio
import logging
from collections.abc import AsyncIterator

from offload.core.errors import EgressFailed
from offload.core.outcome import Failed
from offload.core.task import FileRef, Reason, Task, TaskError
from offload.engine.parts import Parts

log = logging.getLogger("offload.uploads")

JSON_TYPE = "application/json"


async def upload(parts: Parts, task: Task, json: bytes, file: FileRef | None) -> Failed | None:
    """PUT a result to the task's `upload_to`; return None once it was confirmed, else why it never was."""
    limits = parts.uploading
    pause_seconds = limits.pause_seconds
    for tries_left in reversed(range(limits.tries_max)):
        chunks, size, kind = _whole(json), len(json), JSON_TYPE
        if file is not None:
            chunks, size, kind = parts.blobs.read(file.blob), file.size, file.type
        try:
            await parts.egress.push(task.upload_to, chunks, size=size, type=kind, seconds_max=limits.seconds_max)
            return None
        except EgressFailed as error:
            if not error.temporary or not tries_left:
                log.warning("the result of task %s was not taken: %s", task.id, error)
                return _given_up(error)
            log.info("the result of task %s was not taken, trying again: %s", task.id, error)
            wished = min(error.retry_seconds or 0.0, limits.pause_seconds_max)
        except Exception as error:
            log.exception("the result of task %s cannot be sent", task.id)
            return _given_up(error)
        await asyncio.sleep(max(wished, pause_seconds * (0.5 + parts.chance() / 2)))
        pause_seconds = min(pause_seconds * 4, limits.pause_seconds_max)
    raise AssertionError("the last try returns")


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _given_up(error: Exception) -> Failed:
    """The job is done, so it is not run again; its result stays where it is."""
    said = f"the result was not taken, and can be read at …/result: {error}"
    return Failed(reason=Reason.UPLOAD_FAILED, error=TaskError(type=type(error).__name__, message=said), retry=False)
