"""Looking up names: each in a thread of its own, so that one dead name server holds up nobody else."""

import asyncio
import socket
import threading
from collections.abc import Callable
from functools import partial

Lookup = Callable[[str], list[str]]
"""Return every address of a host name, the best first; raise OSError when there is none. It may block."""


def system_lookup(host: str) -> list[str]:
    """Ask the machine: its hosts file, its name servers."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


class Names:
    """Answer for names, `at_once_max` of them at a time; who asks for one that is being asked for waits for that."""

    def __init__(self, lookup: Lookup, *, at_once_max: int) -> None:
        self._lookup = lookup
        self._at_once_max = at_once_max
        self._asked: dict[str, asyncio.Future[list[str]]] = {}

    async def addresses(self, host: str) -> list[str]:
        """Return the addresses of a host, or raise OSError."""
        asked = self._asked.get(host)
        if asked is None:
            if len(self._asked) >= self._at_once_max:
                raise OSError("too many names are being looked up")
            asked = self._ask(host)
        return await asyncio.shield(asked)  # another may wait for it as well

    def _ask(self, host: str) -> asyncio.Future[list[str]]:
        loop = asyncio.get_running_loop()
        asked: asyncio.Future[list[str]] = loop.create_future()
        self._asked[host] = asked
        # no pool: its threads would be waited for when the process ends, and a lookup may take a minute
        threading.Thread(target=self._run, args=(host, asked, loop), daemon=True, name="egress-lookup").start()
        return asked

    def _run(self, host: str, asked: asyncio.Future[list[str]], loop: asyncio.AbstractEventLoop) -> None:
        answer: list[str] | OSError
        try:
            answer = self._lookup(host)
        except (OSError, UnicodeError) as error:
            answer = error if isinstance(error, OSError) else OSError(str(error))
        try:
            loop.call_soon_threadsafe(partial(self._settle, host, asked, answer))
        except RuntimeError:  # the loop has ended meanwhile, and nobody waits
            pass

    def _settle(self, host: str, asked: asyncio.Future[list[str]], answer: list[str] | OSError) -> None:
        del self._asked[host]
        if asked.cancelled():
            return
        if isinstance(answer, OSError):
            asked.set_exception(answer)
            asked.exception()  # who asked may have given up: then nobody else looks at it
        else:
            asked.set_result(answer)
