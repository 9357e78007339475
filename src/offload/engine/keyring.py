"""The keys of this server, all in memory: who asks is known without asking the store."""

import asyncio
import hmac
from dataclasses import dataclass

from offload.core.buckets import Bucket
from offload.core.errors import KeyDoesNotExist
from offload.core.keys import ID_LENGTH, PREFIX, ApiKey, KeyScope, Wish, digest_of, new_key, new_token
from offload.core.ring import KEYS
from offload.core.task import ALL, Record, Scope, Seconds
from offload.engine.parts import new_secret
from offload.engine.quotas import Quotas
from offload.engine.repeating import repeatable
from offload.engine.ringer import Ringer
from offload.ports import Clock, Depth
from offload.ports.keys import KeyStore

REFRESH_SECONDS = 3.0
"""What another node did with the keys is known here after so long."""
USES_SECONDS = 60.0
"""Uses are written together, so often."""
NOBODY = Scope(owner="\0")
"""No owner is called so."""

_ID = slice(len(PREFIX), len(PREFIX) + ID_LENGTH)
_NO_DIGEST = bytes(32)


@dataclass(slots=True, eq=False)
class Holder:
    """Whoever has a key."""

    key: ApiKey
    digest: bytes
    scopes: frozenset[KeyScope]
    sees: Scope
    bucket: Bucket | None
    used_at: Seconds | None = None
    """The last use that the store does not know yet."""

    @property
    def admin(self) -> bool:
        return KeyScope.ADMIN in self.scopes


class Made(Record, frozen=True, kw_only=True):
    """A new key. The token is told once and kept nowhere."""

    key: ApiKey
    token: str


class Keyring:
    """Without any key everybody may do everything; from the first one on nobody may without one, for ever."""

    def __init__(self, store: KeyStore, clock: Clock, ringer: Ringer) -> None:
        self._store = store
        self._clock = clock
        self._ringer = ringer
        self._holders: dict[bytes, Holder] = {}
        self._loop: asyncio.Task[None] | None = None
        self.locked = False
        self.secret = b""
        """The store's own, known once this has started."""
        self.quotas = Quotas(store, clock, shared=not ringer.alone)

    async def load(self) -> None:
        """Read the keys."""
        for key in await self._store.all():
            self._take(key)

    async def start(self) -> None:
        self.secret = await self._store.secret(new_secret())
        await self.load()
        self._loop = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Write what is not written yet."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        await repeatable("keyring", self._write_uses)

    def find(self, token: bytes) -> Holder | None:
        """Return who has this key, in the same time for any token; whether it has ended is for the caller to see."""
        holder = self._holders.get(token[_ID])
        same = hmac.compare_digest(digest_of(token), _NO_DIGEST if holder is None else holder.digest)
        return holder if same else None

    def over(self, holder: Holder) -> str | None:
        """Return how a key ended, None while it is valid."""
        if holder.key.revoked_at is not None:
            return "was revoked"
        if holder.key.expires_at is not None and holder.key.expires_at <= self._clock.now():
            return "has expired"
        return None

    def holder(self, key_id: str) -> Holder | None:
        return self._holders.get(key_id.encode())

    async def create(self, wish: Wish) -> Made:
        """Make a key; it is valid when this returns."""
        token = new_token()
        key = new_key(token, wish, self._clock.now())
        await self._store.add(key)
        self._take(key)
        self._ringer.topic(KEYS)
        return Made(key=key, token=token)

    async def revoke(self, key_id: str) -> ApiKey:
        """End a key; no request that begins after this is let in with it. Raise KeyDoesNotExist."""
        if not await self._store.revoke(key_id, at=self._clock.now()):
            raise KeyDoesNotExist(key_id)
        self._ringer.topic(KEYS)
        await self.load()
        return self._holders[key_id.encode()].key

    async def keys(self) -> list[ApiKey]:
        """Return every key, oldest first."""
        await self._write_uses()
        return await self._store.all()

    async def depths(self, owner: str) -> list[Depth]:
        """Return what an owner has in each queue."""
        return await self._store.depths(owner)

    def _take(self, key: ApiKey) -> None:
        self.locked = True
        known = self._holders.get(key.id.encode())
        if known is not None:
            if known.key.revoked_at is None:  # what was read before a revocation must not undo it
                known.key = key
            return
        scopes = frozenset(key.scopes)
        self._holders[key.id.encode()] = Holder(
            key=key,
            digest=bytes.fromhex(key.hash),
            scopes=scopes,
            sees=ALL if KeyScope.ADMIN in scopes else Scope(owner=key.owner),
            bucket=None if key.rate is None else Bucket(key.rate.count, key.rate.seconds),
        )

    async def _run(self) -> None:
        written_at = self._clock.monotonic()
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            if self._clock.monotonic() - written_at > USES_SECONDS:
                written_at = self._clock.monotonic()
                await repeatable("keyring", self._write_uses)
            await repeatable("keyring", self.load)

    async def _write_uses(self) -> None:
        used = {holder.key.id: (holder, holder.used_at) for holder in self._holders.values() if holder.used_at}
        if used:
            await self._store.note_uses({key_id: at for key_id, (_, at) in used.items()})
            for holder, at in used.values():
                if holder.used_at == at:  # else it was used once more meanwhile
                    holder.used_at = None
