"""How coroutine tests run: each in an event loop of its own, and no longer than its deadline."""

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

DEADLINE_SECONDS = 60.0
MARKER = "deadline(seconds): how long an async test may take, when 60 seconds are not enough"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object | None:
    """Run a coroutine test in a loop of its own; leave every other test to pytest."""
    deadline_seconds = _deadline_seconds(pyfuncitem)
    property_test = getattr(pyfuncitem.obj, "hypothesis", None)
    if property_test is not None and inspect.iscoroutinefunction(property_test.inner_test):
        property_test.inner_test = _blocking(property_test.inner_test, deadline_seconds)
        return None
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    given = {name: value for name, value in pyfuncitem.funcargs.items() if name in wanted}
    _blocking(pyfuncitem.obj, deadline_seconds)(**given)
    return True


def _deadline_seconds(item: pytest.Function) -> float:
    marker = item.get_closest_marker("deadline")
    return DEADLINE_SECONDS if marker is None else float(marker.args[0])


def _blocking(test: Callable[..., Awaitable[Any]], deadline_seconds: float) -> Callable[..., None]:
    async def bounded(*args: Any, **given: Any) -> None:
        async with asyncio.timeout(deadline_seconds):
            await test(*args, **given)

    @functools.wraps(test)
    def run(*args: Any, **given: Any) -> None:
        asyncio.run(bounded(*args, **given))

    return run
