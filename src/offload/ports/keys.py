"""The store of API keys, of what their owners hold, and of the secret that signs links and leases."""

from collections.abc import Mapping
from typing import Protocol

from offload.core.keys import ApiKey
from offload.core.task import Seconds
from offload.ports import Depth


class KeyStore(Protocol):
    """Keys are added and revoked, never changed otherwise and never dropped: that there were keys is not forgotten.

    Raises DiskFull or StoreUnavailable.
    """

    async def add(self, key: ApiKey) -> None: ...

    async def all(self) -> list[ApiKey]:
        """Return every key, revoked and expired ones too, oldest first."""

    async def revoke(self, key_id: str, *, at: Seconds) -> bool:
        """Revoke a key, once; tell whether there is one of this id."""

    async def note_uses(self, uses: Mapping[str, Seconds]) -> None:
        """Keep when keys were last used."""

    async def depths(self, owner: str) -> list[Depth]:
        """Return what an owner has in each queue (`job` is empty): QUEUED, due, RUNNING, and its input bytes."""

    async def unfinished(self, owner: str) -> int:
        """Return how many tasks of an owner have not ended, those only CREATED included."""

    async def secret(self, fresh: bytes) -> bytes:
        """Return the store's own secret, the same for ever and for every node; `fresh`, when it has none yet."""

    async def stored_bytes(self, owner: str) -> int:
        """Return the bytes that are kept for an owner: inputs, results and files of their own."""
