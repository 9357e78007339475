"""Somebody else's service, slow and with a limited rate: never more at once than it likes, and never ordered twice."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from offload import Context, Reject, Retry, RetryLater, job

if TYPE_CHECKING:
    import httpx2

SHOP_VARIABLE = "POSTCARD_SHOP_URL"  # which service it is, is for those who run this to say
ANSWER_SECONDS = 30
PAUSE_SECONDS_MAX = 3600.0
AT_ONCE = 4  # what the shop allows


@dataclass
class Order:
    """An order as the shop knows it; `known` says that the shop had it already, from an attempt that was lost."""

    number: str
    known: bool
    attempt: int


# Attempts are many, because to be told to come back later is no failure.
@job(queue="postcards", timeout=60, concurrency=AT_ONCE, retry=Retry(max_attempts=50, first_seconds=0.5))
async def order_postcard(
    to: Annotated[str, Field(min_length=1, max_length=200)],
    text: Annotated[str, Field(min_length=1, max_length=500)],
    *,
    ctx: Context,
) -> Order:
    """Order a printed postcard from a shop on the internet: once, however often the shop has to be asked."""
    import httpx2

    shop = os.environ.get(SHOP_VARIABLE)
    if shop is None:
        raise Reject(f"no shop is set up here: set {SHOP_VARIABLE}, and serve with --child-env {SHOP_VARIABLE}")
    # The task's id is the same for each attempt: a shop that has seen it answers with the order that it has.
    headers = {"Idempotency-Key": ctx.task_id}
    async with httpx2.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False) as client:
        answer = await client.post(f"{shop}/orders", json={"to": to, "text": text}, headers=headers)
    # A lost connection (httpx2.HTTPError) is tried again as Retry says, like any exception.
    body = taken(answer)
    return Order(number=str(body["number"]), known=answer.status_code == 200, attempt=ctx.attempt)


def taken(answer: "httpx2.Response") -> dict[str, Any]:
    """Return what the shop says of the order; raise what its refusal means."""
    status = answer.status_code
    if status in (408, 425, 429) or status >= 500:
        seconds = retry_after_seconds(answer.headers.get("retry-after"))
        why = f"the shop said {status} {answer.reason_phrase}"
        raise RetryLater(seconds, why) if seconds is not None else RuntimeError(why)
    if status >= 400:
        raise Reject(f"the shop said {status}: {answer.text[:500]}")
    body: dict[str, Any] = answer.json()
    return body


def retry_after_seconds(said: str | None) -> float | None:
    """Read Retry-After, which is a number of seconds or a date (RFC 9110, 10.2.3); None when it says neither."""
    if said is None:
        return None
    try:
        seconds = float(said) if said.strip().isdecimal() else _until(parsedate_to_datetime(said))
    except ValueError:
        return None
    return min(PAUSE_SECONDS_MAX, max(0.0, seconds))


def _until(moment: datetime) -> float:
    return (moment - datetime.now(UTC)).total_seconds()
