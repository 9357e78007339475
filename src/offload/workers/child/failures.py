"""What an exception in a job means: the outcome of the attempt, and the text its user reads."""

import os
import traceback
from pathlib import Path

from offload.core.errors import Canceled, Reject, RetryLater, WrongInput
from offload.core.outcome import Failed
from offload.core.task import Reason, TaskError

MESSAGE_CHARACTERS_MAX = 4_096
TRACEBACK_CHARACTERS_MAX = 32_768
LATER_SECONDS_MAX = 366 * 86_400.0
"""As much as a worker elsewhere may ask for; what is much later has no date."""
_OURS = str(Path(__file__).resolve().parents[2]) + os.sep


class Terminated(BaseException):
    """Raised inside a job by SIGTERM, so that its `finally` blocks run."""


class ResultRefused(Exception):
    """The job returned something that cannot be its result."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def failed_by(error: BaseException) -> Failed:
    """Return the outcome of an attempt that ended with `error`."""
    try:
        return _meaning_of(error)
    except Exception as broken:  # user code: what it holds may do anything
        message = f"(what it says cannot be had: {type(broken).__name__})"
        return Failed(reason=Reason.ERROR, error=_told(type(error).__qualname__[:200], message, error))


def _meaning_of(error: BaseException) -> Failed:
    match error:
        case Reject() | WrongInput():  # the latter: the job changed after the task was accepted
            return Failed(reason=Reason.REJECTED, error=described(error), retry=False)
        case RetryLater():
            later = min(max(0.0, float(error.seconds)), LATER_SECONDS_MAX)
            return Failed(reason=Reason.ERROR, error=described(error), retry_after_seconds=later)
        case ResultRefused():
            kind = "ResultTooLarge" if error.reason is Reason.RESULT_TOO_LARGE else "WrongResult"
            return Failed(reason=error.reason, error=TaskError(type=kind, message=_bounded(str(error))), retry=False)
        case MemoryError():
            return Failed(reason=Reason.OUT_OF_MEMORY, error=described(error))
        case SystemExit():
            message = f"the job called sys.exit({error.code!r:.200})"
            return Failed(reason=Reason.ERROR, error=_told("SystemExit", message, error))
        case Terminated() | Canceled():
            return Failed(reason=Reason.ERROR, error=_told("Canceled", "the job was told to stop", error))
        case _:
            return Failed(reason=Reason.ERROR, error=described(error))


def described(error: BaseException) -> TaskError:
    """Return what a user needs to know of an exception, bounded, and without frames of our own at its top."""
    return _told(type(error).__qualname__[:200], _message_of(error), error)


def _told(kind: str, message: str, error: BaseException) -> TaskError:
    return TaskError(type=kind, message=_bounded(message), traceback=_text_of(error))


def _bounded(message: str) -> str:
    return _cut(message, MESSAGE_CHARACTERS_MAX)


def _message_of(error: BaseException) -> str:
    try:
        return clean(str(error))
    except Exception as broken:  # user code: its __str__ may do anything
        return f"(its text cannot be had: {type(broken).__name__})"


def _text_of(error: BaseException) -> str:
    try:
        told = traceback.TracebackException.from_exception(error)
        _drop_ours(told, depth_max=20)
        return _cut(clean("".join(told.format())), TRACEBACK_CHARACTERS_MAX)
    except Exception:
        return ""


def _drop_ours(told: traceback.TracebackException, *, depth_max: int) -> None:
    """Keep the frames that the user can do something about, in each exception of the chain."""
    theirs = [frame for frame in told.stack if not frame.filename.startswith(_OURS)]
    told.stack = traceback.StackSummary.from_list(theirs)
    for before in (told.__cause__, told.__context__):
        if before is not None and depth_max > 0:
            _drop_ours(before, depth_max=depth_max - 1)


def clean(text: str) -> str:
    """Return the text as UTF-8 can hold it."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _cut(text: str, characters_max: int) -> str:
    """Keep both ends: a traceback says most in its first and last lines."""
    if len(text) <= characters_max:
        return text
    half = (characters_max - 60) // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"
