"""The loops of a node go on after whatever went wrong in one of their rounds."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from offload.bells import LocalBell
from offload.blobs.local import LocalBlobs
from offload.core.errors import DiskFull
from offload.core.keys import ApiKey, KeyScope, Wish
from offload.core.task import Seconds
from offload.engine.keyring import Keyring
from offload.engine.ringer import Ringer
from offload.stores.memory import MemoryStore
from tests.unit.engine.kit import HandClock, Wrapped, kit
from tests.unit.engine.steps import CATALOG
from tests.unit.engine.waiting import until


class Disk:
    """Blobs on a disk that has as much room as the test says, or cannot be asked."""

    def __init__(self, blobs: LocalBlobs) -> None:
        self._blobs = blobs
        self.says: int | Exception = 1000
        self.asked = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._blobs, name)

    async def free_bytes(self) -> int | None:
        self.asked += 1
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


async def test_room_on_the_disk_is_looked_for_again_after_it_could_not_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offload.engine.gate.LOOK_SECONDS", 0.002)
    wrapped = Wrapped(Disk)
    async with kit(tmp_path, CATALOG, wrap_blobs=wrapped) as it:
        disk, gate = wrapped.made, it.engine.gate
        disk.says = OSError(116, "Stale file handle")
        asked = disk.asked
        await until(lambda: disk.asked > asked + 1)
        disk.says = -1
        await until(lambda: gate.disk_is_full)
        with pytest.raises(DiskFull):
            it.engine.admit("noop")


class Keys:
    """A store of keys that cannot be read, or where a key is used while its use is being written."""

    def __init__(self, memory: MemoryStore) -> None:
        self._keys = memory.keys
        self.trouble: Exception | None = None
        self.failed = 0
        self.while_writing: Callable[[], None] | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._keys, name)

    async def note_uses(self, uses: Mapping[str, Seconds]) -> None:
        await self._keys.note_uses(uses)
        if self.while_writing is not None:
            self.while_writing()

    async def all(self) -> list[ApiKey]:
        if self.trouble is not None:
            self.failed += 1
            raise self.trouble
        return await self._keys.all()


async def test_a_revocation_by_another_node_is_learned_also_after_the_keys_could_not_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("offload.engine.keyring.REFRESH_SECONDS", 0.002)
    memory, clock = MemoryStore(), HandClock()
    store = Keys(memory)
    keyring = Keyring(store, clock, Ringer(LocalBell()))  # type: ignore[arg-type]
    await keyring.start()
    try:
        made = await keyring.create(Wish(owner="acme", scopes=(KeyScope.READ,)))
        store.trouble = RuntimeError("can't start new thread")
        await until(lambda: store.failed > 0)
        store.trouble = None
        await memory.keys.revoke(made.key.id, at=clock.now())
        holder = keyring.find(made.token.encode())
        assert holder is not None
        await until(lambda: keyring.over(holder) is not None)
    finally:
        await keyring.stop()


async def test_a_use_of_a_key_while_an_earlier_one_is_written_is_not_forgotten() -> None:
    memory, clock = MemoryStore(), HandClock()
    store = Keys(memory)
    keyring = Keyring(store, clock, Ringer(LocalBell()))  # type: ignore[arg-type]
    made = await keyring.create(Wish(owner="acme", scopes=(KeyScope.READ,)))
    holder = keyring.find(made.token.encode())
    assert holder is not None
    holder.used_at = first = clock.now()

    def use_again() -> None:
        assert holder is not None
        holder.used_at = first + 5.0

    store.while_writing = use_again
    await keyring.keys()
    store.while_writing = None
    (key,) = await keyring.keys()
    assert key.last_used_at == first + 5.0
