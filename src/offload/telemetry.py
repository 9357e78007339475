"""What the server says while it runs: log lines on standard error, for people or for programs."""

import logging
import re
from collections.abc import MutableMapping
from typing import IO, Any

import structlog

from offload.settings import Settings

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_QUIET = ("watchfiles", "asyncio", "httpx2", "httpcore2", "aiobotocore", "botocore")
"""Libraries that tell of their own doing below a warning."""
_MUTE = ("aiormq", "aio_pika")
"""Libraries whose every lost connection is a traceback; whoever uses them says it in a line."""
_TRACEBACKS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
"""Without the values of variables, in either format: they hold what clients sent, their keys and cookies too."""


def configure_logging(settings: Settings, stream: IO[str]) -> None:
    """Send every log record of this process to `stream`, as `log_format` and `log_level` say."""
    structlog.reset_defaults()
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    as_json = settings.log_format == "json"
    last: list[Any] = (
        [_TRACEBACKS, structlog.processors.JSONRenderer(ensure_ascii=True)]
        if as_json
        else [
            _harmless,
            structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback),
        ]  # fmt: skip
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _MUTE:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _harmless(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape what would steer a terminal: log lines repeat what clients sent."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", value)
    return event
