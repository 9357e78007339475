"""What clients may ask about callbacks: their log, sending one again, trying a URL, and the secrets that sign them."""

import secrets as chance
from collections.abc import AsyncIterator
from uuid import uuid4

import msgspec

from offload.core.callback import ANSWER_BYTES_KEPT, Delivery, Try
from offload.core.errors import DeliveryDoesNotExist, EgressFailed
from offload.core.signing import SECRET_BYTES, Secret, secret_text, signed
from offload.core.task import Scope, Seconds
from offload.engine.moves import Moves
from offload.ports import Clock, Egress
from offload.ports.callbacks import DeliveryFilter, DeliveryStore

ROTATION_SECONDS = 86_400.0
"""How long the secret before is still used beside a new one: receivers have so long to learn it."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One try, and when the receiver wants the next."""

    tried: Try
    retry_after_seconds: Seconds | None = None
    hopeless: bool = False
    """This URL will never be used."""


class Callbacks:
    """The front door to deliveries; sends, and signs with every secret of an owner that is valid."""

    def __init__(self, deliveries: DeliveryStore, egress: Egress, clock: Clock) -> None:
        self._deliveries = deliveries
        self._egress = egress
        self._clock = clock
        self.moves = Moves()

    def check(self, url: str) -> None:
        """Raise EgressRefused when no callback would ever go there."""
        self._egress.check(url)

    async def find(self, scope: Scope, wanted: DeliveryFilter) -> list[Delivery]:
        return await self._deliveries.find(scope, wanted)

    async def replay(self, scope: Scope, delivery_id: str) -> Delivery:
        """Have a delivery sent again, with a whole schedule before it. Raise DeliveryDoesNotExist."""
        found = await self._deliveries.replay(scope, delivery_id, now=self._clock.now())
        if found is None:
            raise DeliveryDoesNotExist(delivery_id)
        self.moves.moved(found)
        return found

    async def failing_hosts(self) -> int:
        return await self._deliveries.failing_hosts()

    async def secrets(self, owner: str) -> list[Secret]:
        """Return the secrets that sign an owner's callbacks, the newest first; the first one is made here."""
        now = self._clock.now()
        if not (found := await self._deliveries.secrets(owner)):
            await self._deliveries.add_secret(_new_secret(owner, now))
            found = await self._deliveries.secrets(owner)
        return [secret for secret in found if secret.until is None or secret.until > now]

    async def rotate(self, owner: str) -> list[Secret]:
        """Put a new secret first; the one before signs too for a day."""
        await self.secrets(owner)
        now = self._clock.now()
        await self._deliveries.rotate_secret(_new_secret(owner, now), until=now + ROTATION_SECONDS)
        return await self.secrets(owner)

    async def test(self, owner: str, url: str, body: bytes) -> Try:
        """Send something signed to a URL, once, and tell how it went. Raise EgressRefused."""
        self.check(url)
        texts = [secret.text for secret in await self.secrets(owner)]
        fields = signed(texts, f"msg_test_{uuid4().hex}", int(self._clock.now()), body)
        return (await self.send(url, {**fields, "Content-Type": "application/json"}, body)).tried

    async def send(self, url: str, fields: dict[str, str], body: bytes | AsyncIterator[bytes]) -> Trial:
        """Send once; whatever comes of it is told, not raised."""
        at, begun = self._clock.now(), self._clock.monotonic()
        try:
            answer = await self._egress.send(url, headers=fields, body=body)
        except EgressFailed as error:
            seconds = self._clock.monotonic() - begun
            tried = Try(at=at, latency_seconds=seconds, error=f"{error.code}: {error}")
            return Trial(tried=tried, hopeless=not error.temporary)
        kept = answer.body[:ANSWER_BYTES_KEPT]
        tried = Try(at=at, latency_seconds=answer.latency_seconds, status_code=answer.status, answer=kept)
        return Trial(tried=tried, retry_after_seconds=answer.retry_after_seconds)


def _new_secret(owner: str, now: Seconds) -> Secret:
    return Secret(owner=owner, text=secret_text(chance.token_bytes(SECRET_BYTES)), created_at=now)
