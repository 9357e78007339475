"""How requests were answered, counted by route, method and status: all bounded."""

from collections import Counter, defaultdict

from offload.core.task import Seconds

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


class HttpStats:
    """Plain counters; a route is its pattern, and a path that matches none is `none`."""

    __slots__ = ("count", "seconds", "streams", "streams_of")

    def __init__(self) -> None:
        self.count: Counter[tuple[str, str, int]] = Counter()
        self.seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
        self.streams = 0
        """Event streams that are open now."""
        self.streams_of: Counter[str] = Counter()
        """The same by client, those that have one."""

    def add(self, method: str, route: str, status: int, seconds: Seconds) -> None:
        method = method if method in _METHODS else "other"
        self.count[method, route, status] += 1
        self.seconds[method, route] += seconds
