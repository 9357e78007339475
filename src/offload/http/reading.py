"""What most requests about a task begin with: its id, its task, and perhaps a wait for its end."""

import re

from starlette.responses import Response

from offload.core.errors import WrongTaskIdFormat, WrongValue
from offload.core.task import Task
from offload.http import prefer
from offload.http.call import Call
from offload.http.options import NUMBER
from offload.http.prefer import Preferences

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.ASCII)


def task_id_of(call: Call) -> str:
    """Return the id in the path. Raise WrongTaskIdFormat."""
    return check_task_id(call.parameters["id"])


def check_task_id(given: str) -> str:
    """Return an id as we write it. Raise WrongTaskIdFormat."""
    if not _UUID.fullmatch(given):
        raise WrongTaskIdFormat(given)
    return given.lower()


def own_id_of(call: Call) -> str:
    """Return the id that a client made: version 4, because nobody else can guess it. Raise WrongTaskIdFormat."""
    given = task_id_of(call)
    if not _UUID4.fullmatch(given):
        raise WrongTaskIdFormat(given)
    return given


async def task_of(call: Call) -> Task:
    """Return the task that the path names. Raise WrongTaskIdFormat, TaskDoesNotExist."""
    return await call.engine.get(call.sees, task_id_of(call))


async def wait_for(call: Call) -> Task:
    """Return the task that the path names, after the wait that the client asked for."""
    seconds = wished(call).wait_seconds
    if not seconds:
        return await task_of(call)
    return await call.while_here(call.engine.wait(call.sees, task_id_of(call), seconds))


def wished(call: Call) -> Preferences:
    """Return the client's preferences; `?wait=n` is the same as `Prefer: wait=n`, and wins. Raise WrongValue."""
    longest = call.config.wait_seconds_max
    for name, value in call.query:
        if name != "wait":
            raise WrongValue(name[:80], "is not a parameter of this request; it takes `wait`")
        if not NUMBER.fullmatch(value):
            raise WrongValue("wait", "must be a number of seconds")
        return Preferences(wait_seconds=min(float(value), longest))
    return prefer.read_preferences(call.header(b"prefer"), longest)


def say_applied(call: Call, response: Response) -> None:
    """Tell which preferences were honoured."""
    header = call.header(b"prefer")
    said = prefer.applied(prefer.read_preferences(header, call.config.wait_seconds_max)) if header else b""
    if said:
        response.raw_headers.append((b"preference-applied", said))
