"""The gallery's jobs, called as the plain functions they are: what they make of good, odd and hostile input."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import offload
from offload.core.files import scratch
from offload.loading import load_module
from tests.end_to_end import broken_pictures

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DATA = EXAMPLES / "data"
ctx = offload.Context(task_id="8c0f4c7e-3b1d-4f6a-9e2b-5d7a1c9e0f34")


@pytest.fixture(scope="module")
def gallery() -> Any:
    return load_module(str(EXAMPLES / "gallery.py"))


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path) -> Iterator[None]:
    token = scratch.set(str(tmp_path))
    yield
    scratch.reset(token)


def test_a_photograph_keeps_its_proportions(gallery: Any) -> None:
    small = gallery.resize(offload.File(DATA / "rocket.jpg"), 320)
    assert (small.name, small.type) == ("rocket-320.jpg", "image/jpeg")
    assert size_of(small) == (320, 214)  # 640 x 427 before


def test_a_photograph_taken_sideways_comes_out_upright(gallery: Any, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned a quarter
    Image.open(DATA / "rocket.jpg").save(tmp_path / "sideways.jpg", exif=exif)
    assert size_of(gallery.resize(offload.File(tmp_path / "sideways.jpg"), 100)) == (100, 150)


@pytest.mark.parametrize("format", ["png", "webp", "jpeg"])
def test_a_transparent_picture_is_kept_so_or_laid_on_white(gallery: Any, tmp_path: Path, format: str) -> None:
    Image.new("RGBA", (40, 40), (255, 0, 0, 0)).save(tmp_path / "glass.png")
    with Image.open(gallery.resize(offload.File(tmp_path / "glass.png"), 20, format)) as picture:
        pixel = picture.convert("RGBA").getpixel((10, 10))
    assert pixel == (255, 255, 255, 255) if format == "jpeg" else isinstance(pixel, tuple) and pixel[3] == 0


def size_of(image: offload.File) -> tuple[int, int]:
    with Image.open(image) as picture:
        return picture.size


@broken_pictures.for_each
def test_what_is_no_sound_image_is_rejected_and_not_tried_again(gallery: Any, data: bytes, why: str) -> None:
    with pytest.raises(offload.Reject, match=why):
        gallery.resize(offload.File(data, name="a.png"), 100)


def test_a_long_strip_is_not_blown_up_without_end(gallery: Any, tmp_path: Path) -> None:
    Image.new("RGB", (1, 5_000)).save(tmp_path / "strip.png")
    with pytest.raises(offload.Reject, match="too many"):
        gallery.resize(offload.File(tmp_path / "strip.png"), 8_000)


def test_a_sheet_has_a_place_for_each_picture(gallery: Any) -> None:
    pictures = [offload.File(path) for path in sorted(DATA.glob("*.jpg"))]
    sheet = gallery.thumbnail_sheet(pictures, columns=3, size=100, ctx=ctx)
    assert size_of(sheet) == (3 * 105 + 5, 2 * 105 + 5)


def test_a_report_describes_the_data_and_holds_its_plot(gallery: Any) -> None:
    html = gallery.report(offload.File(DATA / "mauna_loa_co2.csv"), title="<CO2> $5", ctx=ctx).read_text()
    assert "&lt;CO2&gt; $5" in html and "<CO2>" not in html
    assert "2,225" in html and "373.9" in html and "data:image/svg+xml;base64," in html
    assert "http" not in html.replace("http-equiv", ""), "the page must not need the network"


def test_a_report_of_json_as_pdf(gallery: Any) -> None:
    rows = [{"town": "Oslo", "_people": 709, "$": 3}, {"town": "Bergen", "_people": 291, "$": None}]
    pdf = gallery.report(offload.File(json.dumps(rows).encode(), name="towns.json"), format="pdf", ctx=ctx)
    assert pdf.name == "towns.pdf" and pdf.read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    "text",
    ["", "one\n1\n2\n", "a,b\nx,y\n", "[1, 2]", '{"a": 1}', "[{"],
    ids=lambda text: repr(text)[:12],
)
def test_data_that_cannot_be_drawn_is_rejected(gallery: Any, text: str) -> None:
    with pytest.raises(offload.Reject):
        gallery.report(offload.File(text.encode(), name="data.csv"), ctx=ctx)


@pytest.mark.parametrize(
    ("limit", "count"), [(1, 0), (2, 0), (3, 1), (10, 4), (121, 30), (1_000_000, 78_498), (3_000_000, 216_816)]
)
def test_prime_numbers_are_counted(gallery: Any, limit: int, count: int) -> None:
    assert gallery.primes(limit, ctx=ctx).count == count
