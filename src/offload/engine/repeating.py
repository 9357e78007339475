"""What the rounds of a loop have in common: one that fails is told of, and the next one comes."""

import logging
from collections.abc import Awaitable, Callable

from offload.core.errors import TryAgain

log = logging.getLogger("offload.upkeep")


async def repeatable(who: str, duty: Callable[[], Awaitable[None]]) -> str | None:
    """Do one round; what goes wrong is logged, returned, and tried again in the next."""
    try:
        await duty()
    except TryAgain as error:
        log.warning("%s: %s", who, error)
        return str(error)
    except Exception as error:
        log.exception("the %s failed in this round", who)
        return f"{type(error).__name__}: {error}"
    return None
