"""API keys: what one is, how it is written, and how it is known again without being kept."""

import re
import secrets
import zlib
from enum import StrEnum
from hashlib import sha256

from offload.core.errors import WrongValue
from offload.core.task import Record, Seconds

PREFIX = "ofl_"
ID_LENGTH = 12
SECRET_LENGTH = 43
"""32 random bytes in base 62."""
CHECK_LENGTH = 6
TOKEN = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{ID_LENGTH}}}_[0-9A-Za-z]{{{SECRET_LENGTH + CHECK_LENGTH}}}", re.ASCII)
OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}", re.ASCII)

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RATE = re.compile(r"([0-9]{1,9})/(s|sec|m|min|h|d)", re.ASCII)
_WINDOWS = {"s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}


class KeyScope(StrEnum):
    """What a key may be used for."""

    SUBMIT = "submit"
    """Create, run, cancel, retry and delete tasks; upload files."""
    READ = "read"
    """Read tasks, results, events, logs and queues."""
    WORK = "work"
    """Lease tasks and report what came of them."""
    ADMIN = "admin"
    """Everything, for every owner."""


class Rate(Record, frozen=True, kw_only=True):
    """So many requests in a window; all of them may come at once."""

    count: int
    seconds: Seconds

    def __str__(self) -> str:
        return f"{self.count}/{ {1.0: 's', 60.0: 'm', 3600.0: 'h', 86_400.0: 'd'}[self.seconds] }"


class ApiKey(Record, frozen=True, kw_only=True):
    """A key as it is stored: everything but itself."""

    id: str
    owner: str
    scopes: tuple[KeyScope, ...]
    hash: str
    """SHA-256 of the whole key in hex; it has 256 random bits, so a slow hash would only slow us."""
    created_at: Seconds
    expires_at: Seconds | None = None
    revoked_at: Seconds | None = None
    last_used_at: Seconds | None = None
    rate: Rate | None = None
    tasks_max: int | None = None
    """How many unfinished tasks its owner may have for it to make another."""
    bytes_max: int | None = None
    """How many stored bytes its owner may have for it to add to them."""

    def __post_init__(self) -> None:
        assert OWNER.fullmatch(self.owner) and self.scopes and len(self.hash) == 64


class Wish(Record, frozen=True, kw_only=True):
    """A key to be made."""

    owner: str
    scopes: tuple[KeyScope, ...]
    expires_seconds: Seconds | None = None
    rate: Rate | None = None
    tasks_max: int | None = None
    bytes_max: int | None = None


def new_token() -> str:
    """Return a key that nobody has: its id, 32 random bytes and a checksum that secret scanners can test."""
    key_id = "".join(secrets.choice(_DIGITS) for _ in range(ID_LENGTH))
    body = f"{PREFIX}{key_id}_{_base62(int.from_bytes(secrets.token_bytes(32)), SECRET_LENGTH)}"
    return body + _checksum(body)


def id_of(token: str) -> str:
    """Return the part of a key that names it and is no secret."""
    return token[len(PREFIX) : len(PREFIX) + ID_LENGTH]


def is_token(text: str) -> bool:
    """Tell whether a text is written like a key, its checksum included."""
    return bool(TOKEN.fullmatch(text)) and text[-CHECK_LENGTH:] == _checksum(text[:-CHECK_LENGTH])


def digest_of(token: bytes) -> bytes:
    return sha256(token).digest()


def new_key(token: str, wish: Wish, now: Seconds) -> ApiKey:
    """Return what is stored of a key."""
    return ApiKey(
        id=id_of(token),
        owner=wish.owner,
        scopes=wish.scopes,
        hash=digest_of(token.encode()).hex(),
        created_at=now,
        expires_at=None if wish.expires_seconds is None else now + wish.expires_seconds,
        rate=wish.rate,
        tasks_max=wish.tasks_max,
        bytes_max=wish.bytes_max,
    )


def read_owner(text: object) -> str:
    """Return the name of an owner. Raise WrongValue."""
    if not isinstance(text, str) or not OWNER.fullmatch(text):
        raise WrongValue("owner", "must be 1 to 64 letters, digits or ._@+-, and begin with a letter or digit")
    return text


def read_scopes(names: object) -> tuple[KeyScope, ...]:
    """Return scopes in their own order. Raise WrongValue."""
    if not isinstance(names, list) or not names or not set(map(str, names)) <= set(map(str, KeyScope)):
        raise WrongValue("scopes", f"must be some of {', '.join(KeyScope)}")
    return tuple(scope for scope in KeyScope if scope.value in names)


def read_rate(text: object) -> Rate:
    """Return the rate that "10/s", "600/m", "1000/h" or "1000/d" says. Raise WrongValue."""
    found = _RATE.fullmatch(text) if isinstance(text, str) else None
    if found is None or int(found[1]) < 1:
        raise WrongValue("rate", "must be a number of requests and a time, such as 10/s, 600/m or 5000/h")
    return Rate(count=int(found[1]), seconds=_WINDOWS[found[2]])


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), CHECK_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    assert number == 0
    return "".join(reversed(digits))
