"""Jobs to try: photographs, a report with a plot, prime numbers, and pages fetched side by side."""

import math
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, HttpUrl

from offload import Context, File, Reject, Retry, job

# Pillow, matplotlib and HTTP libraries are imported inside the jobs: the server reads this file too, and stays small.
if TYPE_CHECKING:
    import httpx2
    from PIL.Image import Image

PIXELS_MAX = 50_000_000
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")
DAMAGES = (OSError, SyntaxError, ValueError, EOFError)  # what Pillow raises for bytes that make no sense
ORIENTATION = 0x0112  # the EXIF tag; 5 and more: turned by a quarter
PAGE_BYTES_MAX = 1_000_000
SEGMENT = 1_000_000

Width = Annotated[int, Field(ge=1, le=8192)]


@job(queue="images", timeout=60)
def resize(image: File, width: Width = 320, format: Literal["jpeg", "png", "webp"] = "jpeg") -> File:
    """Resize an image to a width in pixels, keeping its proportions."""
    with open_image(image) as picture:
        high, wide = picture.size if is_turned(picture, image.name) else picture.size[::-1]
        height = max(1, round(high * width / wide))
        if width * height > PIXELS_MAX:
            raise Reject(f"{width} x {height} pixels would be too many; at most {PIXELS_MAX:,}")
        small = decoded(picture, image.name, at_least=(width, height)).resize((width, height))
    name = f"{PurePath(image.name).stem}-{width}.{format.replace('jpeg', 'jpg')}"
    return File.save(on_white(small) if format == "jpeg" else small, format=format, name=name, quality=88)


@job(queue="images", timeout=120)
def thumbnail_sheet(
    images: Annotated[list[File], Field(min_length=1, max_length=100)],
    columns: Annotated[int, Field(ge=1, le=20)] = 3,
    size: Annotated[int, Field(ge=16, le=512)] = 200,
    *,
    ctx: Context,
) -> File:
    """Arrange images on one sheet, each `size` pixels at its longer side."""
    from PIL import Image

    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    gap = max(4, size // 20)
    sheet = Image.new("RGB", (columns * (size + gap) + gap, rows * (size + gap) + gap), "white")
    for place, image in enumerate(images):
        ctx.progress(place / len(images), image.name)
        ctx.check()
        with open_image(image) as picture:
            small = on_white(decoded(picture, image.name, at_least=(size, size)))
        small.thumbnail((size, size))
        left = gap + (place % columns) * (size + gap) + (size - small.width) // 2
        top = gap + (place // columns) * (size + gap) + (size - small.height) // 2
        sheet.paste(small, (left, top))
    return File.save(sheet, format="jpeg", name="sheet.jpg", quality=88)


@job(queue="reports", timeout=120, memory="1GiB")
def report(data: File, title: str = "", format: Literal["html", "pdf"] = "html", *, ctx: Context) -> File:
    """Describe the columns of a CSV or JSON file and plot them over the first one, as one HTML or PDF file."""
    from charts import draw, page, read_table  # charts.py, beside this file

    ctx.progress(0.1, "reading")
    table = read_table(data)
    ctx.progress(0.3, f"{len(table.first)} rows; drawing")
    title = title or PurePath(data.name).stem.replace("_", " ")
    drawing = draw(table, title, format)
    ctx.progress(0.9, "writing")
    name = f"{PurePath(data.name).stem}.{format}"
    return File(drawing if format == "pdf" else page(table, title, drawing), name=name)


@dataclass
class Primes:
    """The prime numbers below a limit."""

    limit: int
    count: int
    largest: int | None


@job(queue="cpu", timeout=600, retry=Retry(max_attempts=1))
def primes(limit: Annotated[int, Field(ge=1, le=10**12)], *, ctx: Context) -> Primes:
    """Count the prime numbers below a limit: nothing but CPU, and it holds the interpreter for as long as it runs."""
    small = sieve(math.isqrt(limit) + 1)
    count, largest = 0, None
    for start in range(0, limit, SEGMENT):
        ctx.check()  # raises when the task was canceled
        ctx.progress(start / limit, f"{count:,} so far")
        end = min(start + SEGMENT, limit)
        marks = segment(start, end, small)
        if found := marks.count(1):
            count += found
            largest = start + marks.rindex(1)
    return Primes(limit=limit, count=count, largest=largest)


@dataclass
class Page:
    """What came back from one address."""

    url: str
    status: int | None
    bytes: int
    seconds: float
    error: str | None = None


@job(queue="web", timeout=120, concurrency=20)
async def fetch_many(
    urls: Annotated[list[HttpUrl], Field(min_length=1, max_length=1000)],
    at_once: Annotated[int, Field(ge=1, le=100)] = 8,
    *,
    ctx: Context,
) -> AsyncIterator[Page]:
    """Fetch pages side by side and yield each as it comes. For addresses you trust: it goes wherever it is told."""
    import asyncio

    import httpx2

    room = asyncio.Semaphore(at_once)

    async def one(url: str) -> Page:
        async with room:
            return await fetch(client, url)

    async with httpx2.AsyncClient(timeout=20, trust_env=False) as client:
        fetching = [asyncio.ensure_future(one(str(url))) for url in urls]
        try:
            for done, page in enumerate(asyncio.as_completed(fetching), 1):
                yield await page
                ctx.progress(done / len(urls), f"{done} of {len(urls)}")
        finally:
            for each in fetching:
                each.cancel()


def open_image(image: File) -> "Image":
    """Read an image's header; reject what is no image, or would be too large once unpacked."""
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # our own limit, below, is lower and says what it is
    try:
        picture = Image.open(image.path, formats=IMAGE_FORMATS)
    except (UnidentifiedImageError, *DAMAGES) as error:
        raise Reject(f"{image.name} is not an image that can be read: {', '.join(IMAGE_FORMATS)}") from error
    if picture.width * picture.height > PIXELS_MAX:
        picture.close()
        raise Reject(f"{image.name} has {picture.width} x {picture.height} pixels; at most {PIXELS_MAX:,} in all")
    return picture


def is_turned(picture: "Image", name: str) -> bool:
    """Tell whether the camera was turned by a quarter, so that width and height change places."""
    try:
        turned: bool = picture.getexif().get(ORIENTATION, 1) >= 5  # in a PNG this can mean reading all of it
    except DAMAGES as error:
        raise Reject(f"{name} is damaged: {error}") from error
    return turned


def decoded(picture: "Image", name: str, *, at_least: tuple[int, int]) -> "Image":
    """Return an image's pixels, upright as its camera was held; reject it when they are damaged."""
    from PIL import ImageOps

    # a JPEG can be unpacked small, which is many times faster
    picture.draft("RGB", at_least[::-1] if is_turned(picture, name) else at_least)
    try:
        picture.load()
    except DAMAGES as error:
        raise Reject(f"{name} is damaged: {error}") from error
    upright = ImageOps.exif_transpose(picture)
    return upright.convert("RGBA" if upright.has_transparency_data else "RGB")


def on_white(picture: "Image") -> "Image":
    """Return an image without transparency."""
    if picture.mode == "RGB":
        return picture
    from PIL import Image

    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


def sieve(end: int) -> list[int]:
    """Return the prime numbers below `end`."""
    marks = bytearray([1]) * max(end, 2)
    marks[:2] = b"\0\0"
    for number in range(2, math.isqrt(len(marks)) + 1):
        if marks[number]:
            marks[number * number :: number] = bytes(len(range(number * number, len(marks), number)))
    return [number for number in range(len(marks)) if marks[number]]


def segment(start: int, end: int, small: list[int]) -> bytearray:
    """Return a mark for each number from `start` to before `end`: 1 where it is prime; `small` reaches beyond √end."""
    marks = bytearray([1]) * (end - start)
    if start == 0:
        marks[:2] = bytes(min(2, end))
    for prime in small:
        if prime * prime >= end:
            break
        first = max(prime * prime, -(-start // prime) * prime) - start
        marks[first::prime] = bytes(len(range(first, len(marks), prime)))
    return marks


async def fetch(client: "httpx2.AsyncClient", url: str) -> Page:
    """Fetch one page; an address that does not answer is a result too, not a failure of all the others."""
    import time

    import httpx2

    started = time.monotonic()
    status, size, error = None, 0, None
    try:
        async with client.stream("GET", url) as answer:
            status = answer.status_code
            async for chunk in answer.aiter_bytes():
                size += len(chunk)
                if size > PAGE_BYTES_MAX:
                    error = f"longer than {PAGE_BYTES_MAX:,} bytes; the rest was not read"
                    break
    except httpx2.HTTPError as problem:
        error = str(problem) or type(problem).__name__
    return Page(url=url, status=status, bytes=size, seconds=round(time.monotonic() - started, 3), error=error)
