"""Results pushed through the door: confirmed by the receiver, or told why not and whether to try again."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from offload.core.errors import ExchangeFailed, UploadRefused
from offload.egress import Door
from offload.ports import Answer
from tests.egress.zoo import QUICK, Behaviour, Visit, Zoo, never_read, pieces, redirects, reset, says, stay

PARTS = [bytes([n]) * 100_000 for n in range(20)]
SIZE = sum(map(len, PARTS))


async def push(
    url: str, *, seconds_max: float = 30.0, chunks: AsyncIterator[bytes] | None = None, size: int = SIZE
) -> Answer:
    door = Door(allow=["127.0.0.1"], limits=QUICK)
    headers = {"Content-Type": "image/png"}
    return await door.push(url, chunks or pieces(PARTS), size=size, headers=headers, seconds_max=seconds_max)


async def test_a_result_is_put_with_its_length_and_type() -> None:
    async def receive(visit: Visit) -> None:
        await visit.read_body()
        await visit.answer("201 Created", b"kept")

    async with Zoo({"/r": receive}).open() as zoo:
        answer = await push(zoo.url("/r?X-Signature=%2F"))
        assert (answer.status, answer.body) == (201, b"kept")
        [visit] = zoo.visits
        assert (visit.method, visit.path, visit.body) == ("PUT", "/r?X-Signature=%2F", b"".join(PARTS))
        assert visit.headers["content-type"] == "image/png" and visit.headers["content-length"] == str(SIZE)
        assert "transfer-encoding" not in visit.headers and "expect" not in visit.headers


def takes_and_says(status: int) -> Behaviour:
    async def behave(visit: Visit) -> None:
        await visit.read_body()
        await visit.answer(f"{status} X", b"", "Retry-After: 4")

    return behave


@pytest.mark.parametrize(
    ("status", "temporary"),
    [(400, False), (403, False), (404, False), (409, False), (413, False), (429, True), (500, True), (503, True)],
)
async def test_a_refusal_says_whether_to_try_again(status: int, temporary: bool) -> None:
    async with Zoo({"/r": takes_and_says(status)}).open() as zoo:
        with pytest.raises(UploadRefused) as raised:
            await push(zoo.url("/r"))
        assert raised.value.temporary is temporary and raised.value.retry_seconds == 4


async def test_a_redirect_is_not_followed() -> None:
    async with Zoo({"/r": redirects("/s", 307), "/s": takes_and_says(200)}).open() as zoo:
        with pytest.raises((UploadRefused, ExchangeFailed)):
            await push(zoo.url("/r"))
        assert zoo.paths() == ["/r"]


async def drops_near_the_end(visit: Visit) -> None:
    await visit.reader.readexactly(SIZE * 99 // 100)
    visit.reset()


@pytest.mark.parametrize(
    "behaviour", [drops_near_the_end, reset, says(), never_read, stay], ids=lambda each: each.__name__
)
async def test_what_is_not_confirmed_may_be_tried_again_and_nothing_lingers(behaviour: Behaviour) -> None:
    async with Zoo({"/r": behaviour}).open() as zoo:
        with pytest.raises(ExchangeFailed) as raised:
            await push(zoo.url("/r"), seconds_max=4.0)
        assert raised.value.temporary
        async with asyncio.timeout(20):
            await zoo.visits[0].left.wait()


async def test_a_receiver_that_takes_nothing_is_left_long_before_the_end() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(10_000)

    async with Zoo({"/r": never_read}).open() as zoo:
        async with asyncio.timeout(40):
            with pytest.raises(ExchangeFailed):
                await push(zoo.url("/r"), seconds_max=3600.0, chunks=endless(), size=10**12)


@pytest.mark.parametrize("parts", [PARTS[:-1], [*PARTS, b"more"], []])
async def test_a_result_of_another_length_is_never_confirmed(parts: list[bytes]) -> None:
    async with Zoo({"/r": takes_and_says(200)}).open() as zoo:
        with pytest.raises(ExchangeFailed):
            await push(zoo.url("/r"), chunks=pieces(parts))


async def test_a_result_that_cannot_be_read_is_not_half_sent_for_good() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield PARTS[0]
        raise OSError("the disk is gone")

    async with Zoo({"/r": takes_and_says(200)}).open() as zoo:
        with pytest.raises(ExchangeFailed):
            await push(zoo.url("/r"), chunks=broken())
        assert not zoo.visits or zoo.visits[0].body == b""
