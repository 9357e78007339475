"""The bounds of every exchange with a server that a client named."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a far server may cost us; the numbers are the contract's, and tests make them small."""

    callback_seconds: float = 15.0
    """A callback in all: name, connection, request, answer."""
    answer_seconds: float = 5.0
    """Reading the body of an answer whose status is known."""
    answer_bytes_max: int = 64 * 1024
    header_bytes_max: int = 32 * 1024
    header_count_max: int = 100
    header_seconds: float = 30.0
    """How long a source may take to begin its answer."""
    connect_seconds: float = 10.0
    addresses_max: int = 4
    """How many addresses of one name are tried: a name with a hundred must not make us knock at a hundred doors."""
    redirects_max: int = 3
    rate_bytes_min: int = 1024
    """Per second, once `rate_seconds` have passed."""
    rate_seconds: float = 10.0
    stall_seconds: float = 30.0
    """How long a receiver may take no byte of an upload."""
    resumes_max: int = 5
    resume_pause_seconds: float = 0.5
    blur_seconds: float = 0.25
    """An unreachable place is told after up to so long, by chance: the time says nothing of the reason."""
    at_once_max: int = 256
