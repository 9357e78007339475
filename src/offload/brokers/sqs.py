"""Tokens in SQS: a standard queue for each lot, long polls, and a visibility timeout for what is not settled."""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import msgspec
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from aiohttp import ClientError as HttpError
from botocore.exceptions import BotoCoreError, ClientError

from offload.brokers.address import Address
from offload.core.errors import WrongSetting
from offload.core.ring import Lot
from offload.core.task import Record, Seconds
from offload.ports.broker import BrokerUnavailable, Token

BATCH = 10
"""Messages in one request, by the rules of SQS."""
NAME_LENGTH_MAX = 80
GONE = ("QueueDoesNotExist", "NonExistentQueue")
OPTIONS = ("endpoint",)
SOCKETS_MAX = 200


class Waits(Record, frozen=True, kw_only=True):
    """How long this broker waits for what, in whole seconds."""

    take_seconds: int = 5
    answer_seconds: Seconds = 10.0
    held_seconds: int = 30
    """A token that its node has not settled for so long is another's."""
    token_seconds: int = 3_600
    """Tokens that nobody has taken for so long are dropped."""


class SqsBroker:
    """One node's client. Credentials come from the URL, else from where AWS's own tools look for them."""

    def __init__(self, address: Address, *, node: str, waits: Waits | None = None) -> None:
        if unknown := sorted(set(address.options) - set(OPTIONS)):
            takes = "an SQS URL takes prefix and endpoint, as in sqs://eu-central-1/?endpoint=http://localhost:4566"
            raise WrongSetting(f"broker: {address.shown}: there is no option {unknown[0]!r}; {takes}")
        self._address = address
        self._node = node
        self._waits = waits or Waits()
        self._open = contextlib.AsyncExitStack()
        self._client: Any = None
        self._urls: dict[Lot, str] = {}
        self._taken: dict[str, Token] = {}
        self._lost = False
        self.reconnects = 0

    async def start(self) -> None:
        parts = urlsplit(self._address.url)
        config = AioConfig(
            retries={"total_max_attempts": 1},  # who announces and takes has pauses of its own
            connect_timeout=self._waits.answer_seconds,
            read_timeout=self._waits.take_seconds + self._waits.answer_seconds,
            max_pool_connections=SOCKETS_MAX,
        )
        try:
            self._client = await self._open.enter_async_context(
                get_session().create_client(
                    "sqs",
                    region_name=parts.hostname,
                    endpoint_url=self._address.options.get("endpoint"),
                    aws_access_key_id=unquote(parts.username) if parts.username else None,
                    aws_secret_access_key=unquote(parts.password) if parts.password else None,
                    config=config,
                )
            )
        except (BotoCoreError, ValueError) as error:
            raise WrongSetting(self._said(f"broker: {self._address.shown}: {error}")) from None

    async def announce(self, tokens: Sequence[Token]) -> None:
        if not tokens:
            await self._look_whether_there()
        for lot in {token.lot for token in tokens}:
            async with self._speaking(lot):
                url = await self._url(lot)
                for some in _batches(token for token in tokens if token.lot == lot):
                    bodies = [_entry(number, MessageBody=_body(token)) for number, token in enumerate(some)]
                    _check(await self._client.send_message_batch(QueueUrl=url, Entries=bodies))

    async def take(self, lot: Lot, *, limit: int) -> list[Token]:
        async with self._speaking(lot):
            answer = await self._client.receive_message(
                QueueUrl=await self._url(lot),
                MaxNumberOfMessages=min(limit, BATCH),
                WaitTimeSeconds=self._waits.take_seconds,
                VisibilityTimeout=self._waits.held_seconds,
            )
        tokens = [_token(lot, message) for message in answer.get("Messages", ())]
        self._taken.update((token.receipt, token) for token in tokens)
        return tokens

    async def acknowledge(self, tokens: Sequence[Token]) -> None:
        for lot, url, some in await self._settling(tokens):
            async with self._speaking(lot):
                entries = [_entry(number, ReceiptHandle=token.receipt) for number, token in enumerate(some)]
                await self._client.delete_message_batch(QueueUrl=url, Entries=entries)

    async def release(self, tokens: Sequence[Token]) -> None:
        for lot, url, some in await self._settling(tokens):
            async with self._speaking(lot):
                entries = [_entry(number, ReceiptHandle=token.receipt, VisibilityTimeout=0)
                           for number, token in enumerate(some)]  # fmt: skip
                await self._client.change_message_visibility_batch(QueueUrl=url, Entries=entries)

    async def restart(self) -> None:
        await self._open.aclose()
        self._urls.clear()
        self._lost = True
        await self.start()
        await self.announce(())

    async def stop(self) -> None:
        with contextlib.suppress(BrokerUnavailable):
            await self.release(list(self._taken.values()))
        await self._open.aclose()

    async def _url(self, lot: Lot) -> str:
        if (known := self._urls.get(lot)) is not None:
            return known
        name = self._name(lot)
        try:
            answer = await self._client.get_queue_url(QueueName=name)
        except ClientError as error:
            if not _is_gone(error):
                raise
            attributes = {
                "MessageRetentionPeriod": str(self._waits.token_seconds),
                "VisibilityTimeout": str(self._waits.held_seconds),
            }
            answer = await self._client.create_queue(QueueName=name, Attributes=attributes)
        url = self._urls[lot] = str(answer["QueueUrl"])
        return url

    async def _look_whether_there(self) -> None:
        """Ask for a queue that is not there: an answer is an answer."""
        async with self._speaking(None):
            try:
                await self._client.get_queue_url(QueueName=f"{self._address.prefix}-nothing")
            except ClientError as error:
                if not _is_gone(error):
                    raise

    async def _settling(self, tokens: Sequence[Token]) -> list[tuple[Lot, str, list[Token]]]:
        found = []
        for lot in {token.lot for token in tokens}:
            own = [token for token in tokens if token.lot == lot and self._taken.pop(token.receipt, None) is not None]
            async with self._speaking(lot):
                found += [(lot, await self._url(lot), some) for some in _batches(own)]
        return found

    @contextlib.asynccontextmanager
    async def _speaking(self, lot: Lot | None) -> AsyncIterator[None]:
        try:
            yield
        except (BotoCoreError, ClientError, HttpError, OSError, TimeoutError) as error:
            self._lost = True
            if lot is not None and isinstance(error, ClientError) and _is_gone(error):
                self._urls.pop(lot, None)  # somebody has deleted the queue; it is made again at the next try
            raise BrokerUnavailable(self._said(f"{self._address.shown}: {type(error).__name__}: {error}")) from None
        if self._lost:
            self._lost = False
            self.reconnects += 1

    def _said(self, text: str) -> str:
        return self._address.without_secrets(text)

    def _name(self, lot: Lot) -> str:
        """Return a name within the rules of SQS, another for each lot however their names run together."""
        mark = hashlib.sha256("/".join(lot).encode()).hexdigest()[:8]
        return "-".join((self._address.prefix, *lot))[: NAME_LENGTH_MAX - len(mark) - 1] + f"-{mark}"


def _batches(tokens: Iterable[Token]) -> Iterator[list[Token]]:
    left = iter(tokens)
    while some := list(islice(left, BATCH)):
        yield some


def _entry(number: int, **fields: object) -> dict[str, object]:
    return {"Id": str(number), **fields}


def _body(token: Token) -> str:
    return msgspec.json.encode({"queue": token.queue, "job": token.job, "task": token.task_id}).decode()


def _token(lot: Lot, message: Mapping[str, str]) -> Token:
    """Read a message; what somebody else put into the queue is a token as well, of no task."""
    queue, job = lot
    try:
        task_id = str(msgspec.json.decode(message["Body"], type=dict[str, Any]).get("task", ""))
    except (msgspec.DecodeError, UnicodeEncodeError):
        task_id = ""
    return Token(queue=queue, job=job, task_id=task_id, receipt=message["ReceiptHandle"])


def _check(answer: Mapping[str, Any]) -> None:
    if failed := answer.get("Failed"):
        raise BrokerUnavailable(f"SQS did not take {len(failed)} tokens: {failed[0].get('Message', failed[0])}")


def _is_gone(error: ClientError) -> bool:
    code = cast(str, error.response.get("Error", {}).get("Code", ""))
    return code.rpartition(".")[2] in GONE
