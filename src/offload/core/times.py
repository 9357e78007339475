"""Points in time as text."""

import time
from functools import lru_cache
from typing import overload

from offload.core.task import Seconds


@overload
def rfc3339(at: Seconds) -> str: ...
@overload
def rfc3339(at: Seconds | None) -> str | None: ...
def rfc3339(at: Seconds | None) -> str | None:
    """Return a time in UTC with milliseconds."""
    if at is None:
        return None
    milliseconds = int(at * 1000)
    return f"{_to_the_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=1024)
def _to_the_second(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))
