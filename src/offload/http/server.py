"""Serves an application with uvicorn, whose signals, lifespan and bounds are ours."""

import asyncio
import contextlib
import ipaddress
import math
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

from offload.core.errors import WrongSetting
from offload.core.task import Seconds
from offload.http.config import HttpConfig
from offload.http.protocol import bounded_protocol

BACKLOG = 2048
IDLE_SECONDS_MAX = 65
"""How long a connection may lie idle between requests."""
TICK_SECONDS = 1.0

OnReady = Callable[[int], None]


async def serve(
    app: ASGIApp,
    host: str,
    port: int,
    on_ready: OnReady,
    stop: asyncio.Event,
    *,
    config: HttpConfig | None = None,
    grace_seconds: Seconds = 5.0,
    listener: socket.socket | None = None,
) -> None:
    """Serve until `stop`; then end what is under way within the grace. `on_ready` hears the port that was taken.

    A `listener` that is bound already takes the place of host and port.

    Raise WrongSetting for an address that is not loopback, or is in use. Nothing here listens for signals.
    """
    listener = listener or listen(host, port)
    with contextlib.closing(listener):
        server = _Server(app, config or HttpConfig(), on_ready, stop, grace_seconds)
        await server.serve(sockets=[listener])


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return the loop to serve on: uvloop where there is one."""
    try:
        import uvloop
    except ImportError:  # not made for every system
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def listen(host: str, port: int, *, has_keys: bool = False) -> socket.socket:
    """Return a socket bound to an address. Raise WrongSetting, without keys for every address but a loopback one."""
    address = any_address(host) if has_keys else loopback_address(host)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        raise WrongSetting(f"cannot listen on {host} port {port}: {error.strerror}; port 0 takes a free one") from None
    except OverflowError:
        listener.close()
        raise WrongSetting(f"port {port} is not between 0 and 65535") from None
    return listener


def loopback_address(host: str) -> str:
    """Return the address of a loopback name; without keys nobody else may ask. Raise WrongSetting."""
    bare = "127.0.0.1" if host.lower() == "localhost" else host.strip("[]")
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(bare).is_loopback:
            return bare
    raise WrongSetting(
        f"host {host!r} is not a loopback address: this server has no keys, so it only listens on 127.0.0.1, "
        f"::1 or localhost; make one first: offload keys create --owner NAME --scopes submit,read"
    )


def any_address(host: str) -> str:
    """Return the address that a host setting means. Raise WrongSetting."""
    bare = "127.0.0.1" if host.lower() == "localhost" else host.strip("[]")
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        raise WrongSetting(f"host {host!r} is not an IP address; 0.0.0.0 and :: are all of this machine's") from None


class _Server(uvicorn.Server):
    def __init__(
        self, app: ASGIApp, config: HttpConfig, on_ready: OnReady, stop: asyncio.Event, grace_seconds: Seconds
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=bounded_protocol(config),
                loop="none",
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                log_level="error",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=config.adds_date,
                backlog=BACKLOG,
                timeout_keep_alive=IDLE_SECONDS_MAX,
                timeout_graceful_shutdown=max(1, math.ceil(grace_seconds)),
            )
        )
        self._on_ready = on_ready
        self._stop = stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        assert sockets
        self._on_ready(sockets[0].getsockname()[1])

    async def main_loop(self) -> None:
        """Wait for the stop; uvicorn would look ten times a second."""
        while not self._stop.is_set():
            await self.on_tick(0)  # sets the Date header
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._stop.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # whoever started us decides what a signal means
