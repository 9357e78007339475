"""API keys in the SQLite file, and counts of what their owners hold."""

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import msgspec

from offload.core.keys import ApiKey
from offload.core.task import Seconds
from offload.ports import Depth
from offload.stores.sqlite.file import open_reader, translated
from offload.stores.sqlite.statements import rows, value

ADD = "INSERT INTO keys (id, made, key) SELECT ?, coalesce(max(made), 0) + 1, ? FROM keys"
ALL = "SELECT key, revoked_at, last_used_at FROM keys ORDER BY made"
REVOKE = "UPDATE keys SET revoked_at = coalesce(revoked_at, ?) WHERE id = ? RETURNING 1"
USED = "UPDATE keys SET last_used_at = ? WHERE id = ?"
SECRET = "INSERT OR IGNORE INTO secrets (name, secret) VALUES ('links', ?)"
KNOWN_SECRET = "SELECT secret FROM secrets WHERE name = 'links'"
OWNED = "tasks INDEXED BY tasks_owned WHERE owner = ? AND owner <> '' AND status IN ('CREATED', 'QUEUED', 'RUNNING')"
UNFINISHED = f"SELECT count(*) FROM {OWNED}"
DEPTHS = f"""
    SELECT queue, sum(status = 'QUEUED'), sum(status = 'QUEUED' AND ready = 1), sum(status = 'RUNNING'),
           sum(CASE WHEN status = 'CREATED' THEN 0 ELSE input_bytes END)
      FROM {OWNED} GROUP BY queue
"""
OF_TASKS = """
    SELECT coalesce(sum(t.input_bytes + coalesce(length(o.result), 0)
                        + coalesce(json_extract(o.result_file, '$.size'), 0)), 0)
      FROM tasks t INDEXED BY tasks_kept LEFT JOIN outcomes o ON o.key = t.key
     WHERE t.owner = ? AND t.owner <> '' AND t.payload_dropped = 0
"""
OF_FILES = """
    SELECT coalesce(sum(json_extract(file, '$.size')), 0) FROM files INDEXED BY files_owned
     WHERE owner = ? AND owner <> ''
"""

Run = Callable[[Callable[[apsw.Connection], Any]], Any]
Read = Callable[..., Any]


class SqliteKeys:
    """KeyStore in the file of a SqliteStore, by the writer and the readers of that."""

    def __init__(self, run: Run, read: Read) -> None:
        self._run = run
        self._read = read

    async def add(self, key: ApiKey) -> None:
        await self._run(lambda connection: rows(connection, ADD, key.id, msgspec.json.encode(key).decode()))

    async def all(self) -> list[ApiKey]:
        return [_key_from(*row) for row in await self._read(rows, ALL)]

    async def revoke(self, key_id: str, *, at: Seconds) -> bool:
        return bool(await self._run(lambda connection: rows(connection, REVOKE, at, key_id)))

    async def note_uses(self, uses: Mapping[str, Seconds]) -> None:
        await self._run(lambda connection: [rows(connection, USED, at, key_id) for key_id, at in uses.items()])

    async def depths(self, owner: str) -> list[Depth]:
        return [
            Depth(queue=queue, job="", queued=queued, ready=ready, running=running, bytes=size)
            for queue, queued, ready, running, size in await self._read(rows, DEPTHS, owner)
        ]

    async def unfinished(self, owner: str) -> int:
        found: int = await self._read(value, UNFINISHED, owner)
        return found

    async def secret(self, fresh: bytes) -> bytes:
        def kept(connection: apsw.Connection) -> bytes:
            rows(connection, SECRET, fresh)
            found: bytes = value(connection, KNOWN_SECRET)
            return found

        known: bytes = await self._run(kept)
        return known

    async def stored_bytes(self, owner: str) -> int:
        found: int = await self._read(value, OF_TASKS, owner) + await self._read(value, OF_FILES, owner)
        return found


def any_key(path: Path) -> bool:
    """Tell whether a file has keys, whoever owns it; one that is not there or of an earlier schema has none."""
    if not path.exists():
        return False
    try:
        with closing(open_reader(path)) as connection:
            tables = rows(connection, "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'keys'")
            return bool(tables and rows(connection, "SELECT 1 FROM keys LIMIT 1"))
    except apsw.Error as error:
        raise translated(error, path) from error


def _key_from(text: str, revoked_at: Seconds | None, last_used_at: Seconds | None) -> ApiKey:
    key = msgspec.json.decode(text, type=ApiKey)
    return msgspec.structs.replace(key, revoked_at=revoked_at, last_used_at=last_used_at)
