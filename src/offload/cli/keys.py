"""`offload keys`: make, list and revoke API keys, in a data directory or by asking its server."""

import argparse
import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from offload.cli.server_flags import add_server_flags, connect
from offload.cli.settings_flags import read_settings
from offload.cli.shown import as_json, local_time, say, size_text, table, tell
from offload.client import KeyDescription, NewKey
from offload.core.errors import WrongValue
from offload.core.keys import ApiKey, KeyScope, Wish, read_owner, read_rate, read_scopes
from offload.core.quantities import parse_bytes, parse_seconds
from offload.core.store_errors import StoreInUse
from offload.core.task import Seconds
from offload.engine.keyring import Keyring
from offload.settings import SPECS, Settings

HELP = "make, list and revoke API keys"
DESCRIPTION = """\
Make, list and revoke API keys. Without any key a server listens on this machine only and lets everybody do everything;
from the first one on, nobody may do anything without a key.

When no server uses the data directory, or the store is a database, the keys are changed there; else the server is
asked: at --url, OFFLOAD_URL, or the address in the settings, with an admin's key in OFFLOAD_API_KEY, once it has
keys."""
EXAMPLES = """\
examples:
  offload keys create --owner ops --scopes admin
  offload keys create --owner anna --scopes submit,read --expires 30d --rate 10/s --tasks 100 --bytes 1GiB
  offload keys list
  offload keys revoke 3kTq9ZbX0aLm
"""

T = TypeVar("T")
Number = TypeVar("Number", int, float)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    create = actions.add_parser("create", help="make a key and print it, this once", description="Make a key.")
    create.add_argument("--owner", required=True, metavar="NAME", help="whose tasks it makes and sees")
    create.add_argument("--scopes", required=True, metavar="LIST", help=f"what it may do, of {','.join(KeyScope)}")
    create.add_argument("--expires", metavar="DURATION", help="how long it is valid, as in 30d (default: for ever)")
    create.add_argument("--rate", metavar="N/UNIT", help="how many requests it may make, as in 10/s, 600/m or 5000/h")
    create.add_argument("--tasks", metavar="N", help="how many unfinished tasks its owner may have")
    create.add_argument("--bytes", metavar="SIZE", help="how much may be stored for its owner, as in 1GiB")
    _finish(create, _create)
    _finish(actions.add_parser("list", help="every key", description="List every key; none is shown itself."), _list)
    revoke = actions.add_parser("revoke", help="end keys at once, for good", description="End keys, for good.")
    revoke.add_argument("ids", nargs="+", metavar="ID", help="as `offload keys list` shows them")
    _finish(revoke, _revoke)


def _finish(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--data", dest="set_data", metavar="PATH", default=argparse.SUPPRESS, help="the data directory")
    parser.add_argument("--store", dest="set_store", metavar="URL", default=argparse.SUPPRESS, help="the store")
    parser.add_argument("--config", metavar="FILE", help="read settings from this file instead of ./offload.toml")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    add_server_flags(parser)
    parser.set_defaults(run=run, parser=parser)


def _create(options: argparse.Namespace) -> int:
    wish = _wish(options)

    async def here(keyring: Keyring) -> NewKey:
        made = await keyring.create(wish)
        return NewKey(key=made.token, **_fields(made.key))

    def there() -> NewKey:
        with connect(options) as client:
            return client.create_key(
                wish.owner,
                list(wish.scopes),
                expires_seconds=wish.expires_seconds,
                rate=None if wish.rate is None else str(wish.rate),
                tasks_max=wish.tasks_max,
                bytes_max=wish.bytes_max,
            )

    made = _done(options, here, there)
    say(as_json(made) if options.json else made.key)
    if not options.json:
        tell(f"key {made.id} of {made.owner}: it is shown this once and kept nowhere")
    return 0


def _list(options: argparse.Namespace) -> int:
    async def here(keyring: Keyring) -> list[KeyDescription]:
        return [KeyDescription(**_fields(key)) for key in await keyring.keys()]

    def there() -> list[KeyDescription]:
        with connect(options) as client:
            return client.keys()

    found = _done(options, here, there)
    say(as_json(found) if options.json else table(_HEAD, [_row(key) for key in found]))
    return 0


def _revoke(options: argparse.Namespace) -> int:
    async def here(keyring: Keyring) -> list[KeyDescription]:
        return [KeyDescription(**_fields(await keyring.revoke(key_id))) for key_id in options.ids]

    def there() -> list[KeyDescription]:
        with connect(options) as client:
            return [client.revoke_key(key_id) for key_id in options.ids]

    revoked = _done(options, here, there)
    if options.json:
        say(as_json(revoked))
    else:
        for key in revoked:
            say(f"{key.id} of {key.owner} revoked")
    return 0


def _done(options: argparse.Namespace, here: Callable[[Keyring], Awaitable[T]], there: Callable[[], T]) -> T:
    """Do it in the data directory, or have its server do it."""
    from offload import compose

    settings = read_settings(options)

    async def alone() -> T:
        async with compose.keyring_alone(settings) as keyring:
            return await here(keyring)

    if options.url or os.environ.get("OFFLOAD_URL"):
        return there()
    try:
        done = asyncio.run(alone())
    except StoreInUse:
        options.url = _address(settings)
        tell(f"a server uses {settings.data}: asking it at {options.url}")
        return there()
    tell(f"in {SPECS['store'].show(settings.store) or settings.data}")
    return done


def _address(settings: Settings) -> str:
    """Return where the server of these settings most likely is."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _wish(options: argparse.Namespace) -> Wish:
    """Return what the flags say. Raise WrongValue."""
    return Wish(
        owner=read_owner(options.owner),
        scopes=read_scopes([name.strip() for name in options.scopes.split(",")]),
        expires_seconds=None if options.expires is None else _quantity("expires", options.expires, parse_seconds),
        rate=None if options.rate is None else read_rate(options.rate),
        tasks_max=None if options.tasks is None else _quantity("tasks", options.tasks, int),
        bytes_max=None if options.bytes is None else _quantity("bytes", options.bytes, parse_bytes),
    )


def _quantity(name: str, text: str, read: Callable[[str], Number]) -> Number:
    try:
        found = read(text)
    except ValueError as error:
        raise WrongValue(name, str(error)) from None
    if found < 1:
        raise WrongValue(name, f"{text!r} is less than 1")
    return found


def _fields(key: ApiKey) -> dict[str, Any]:
    """Return a stored key in the words of the client."""
    return {
        "id": key.id,
        "owner": key.owner,
        "scopes": key.scopes,
        "created_at": _time(key.created_at),
        "expires_at": _time(key.expires_at),
        "revoked_at": _time(key.revoked_at),
        "last_used_at": _time(key.last_used_at),
        "rate": None if key.rate is None else str(key.rate),
        "tasks_max": key.tasks_max,
        "bytes_max": key.bytes_max,
    }


def _time(at: Seconds | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)


_HEAD = ("id", "owner", "scopes", "state", "made", "last used", "rate", "tasks", "bytes")


def _row(key: KeyDescription) -> tuple[str, ...]:
    ends = f"until {local_time(key.expires_at)}" if key.expires_at is not None else "valid"
    state = "revoked" if key.revoked_at is not None else ends
    tasks = "" if key.tasks_max is None else f"{key.tasks_max:,}"
    size = "" if key.bytes_max is None else size_text(key.bytes_max)
    times = (local_time(key.created_at), local_time(key.last_used_at))
    return (key.id, key.owner, ",".join(key.scopes), state, *times, key.rate or "", tasks, size)
