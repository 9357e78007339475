"""A File is a path, knows its name and type, and writes nothing before it must."""

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from offload.core.files import File, as_file, scratch, type_of


@pytest.fixture(autouse=True)
def in_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_of_bytes_is_written_when_its_path_is_asked_for_and_not_before(in_scratch: Path) -> None:
    file = File(b"hello", name="a.txt")
    assert (file.size, file.read_bytes(), file.read_text(), file.type) == (5, b"hello", "hello", "text/plain")
    assert list(in_scratch.iterdir()) == []
    assert file.path.read_bytes() == b"hello" and file.path.parent == in_scratch
    assert file.path == file.path and file.size == 5 and file.read_bytes() == b"hello"


def test_a_file_works_wherever_a_path_does(in_scratch: Path) -> None:
    (in_scratch / "cat.jpg").write_bytes(b"jpg")
    file = File("cat.jpg")
    assert os.fspath(file) == str(in_scratch / "cat.jpg")
    with open(file, "rb") as opened:
        assert opened.read() == b"jpg"
    with file.open() as again:
        assert again.read() == b"jpg"
    assert (file.name, file.type, file.size) == ("cat.jpg", "image/jpeg", 3)


def test_a_relative_path_stays_where_it_was_when_the_job_changes_directory(in_scratch: Path) -> None:
    (in_scratch / "a.txt").write_text("x")
    file = File(Path("a.txt"))
    os.chdir("/")
    assert file.read_text() == "x"


def test_a_stream_is_copied_once_and_brings_its_name(in_scratch: Path) -> None:
    (in_scratch / "data.csv").write_bytes(b"a,b")
    with open("data.csv", "rb") as stream:
        file = File(stream)
        assert (file.name, file.type, file.size) == ("data.csv", "text/csv", 3)
    assert file.read_bytes() == b"a,b" and file.path != in_scratch / "data.csv"
    assert File(io.BytesIO(b"x")).read_bytes() == b"x"


def test_a_stream_without_a_name_has_none_to_bring() -> None:
    read, write = os.pipe()
    with os.fdopen(write, "wb") as writer:
        writer.write(b"piped")
    with os.fdopen(read, "rb") as reader:  # its .name is a number
        file = File(reader, type="application/pdf")
        assert file.read_bytes() == b"piped"
    assert (file.name, file.type) == ("file.pdf", "application/pdf")


def test_anything_that_can_be_saved_becomes_a_file(in_scratch: Path) -> None:
    file = File.save(Image.new("RGB", (4, 3), "red"), format="jpeg", quality=80)
    assert (file.name, file.type) == ("result.jpeg", "image/jpeg")
    assert file.path.parent == in_scratch
    with Image.open(file) as back:
        assert back.size == (4, 3)
    assert File.save(Image.new("1", (1, 1)), format="PNG", name="dot.png").name == "dot.png"


def test_a_plot_is_saved_by_savefig() -> None:
    class Plot:
        def savefig(self, path: str, format: str) -> None:
            Path(path).write_text(format)

    assert File.save(Plot(), format="svg").read_text() == "svg"


def test_what_cannot_be_saved_says_so() -> None:
    with pytest.raises(TypeError, match="save method, not int"):
        File.save(3, format="png")
    with pytest.raises(TypeError, match=r"bytes, a path or an open binary file, not list"):
        File([1])  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/cron.d/x", "a\0b", "x." + "y" * 300, "a.../..", ".."])
def test_a_name_from_a_client_never_becomes_a_path(in_scratch: Path, name: str) -> None:
    file = File(b"x", name=name)
    assert file.name == name
    assert file.path.parent == in_scratch and len(file.path.name) < 40


def test_a_plain_suffix_is_kept_because_programs_look_at_it() -> None:
    assert File(b"x", name="a/b/movie.MP4").path.suffix == ".MP4"


def test_each_attempt_of_an_async_job_writes_into_its_own_scratch(in_scratch: Path) -> None:
    mine = in_scratch / "mine"
    mine.mkdir()
    token = scratch.set(str(mine))
    try:
        assert File(b"x").path.parent == mine
    finally:
        scratch.reset(token)
    assert File(b"x").path.parent == in_scratch


@pytest.mark.parametrize(
    ("name", "type"),
    [
        ("a.png", "image/png"),
        ("A.JPG", "image/jpeg"),
        ("a.webp", "image/webp"),
        ("a.tar.gz", "application/gzip"),
        ("a.json", "application/json"),
        ("noise", "application/octet-stream"),
        ("a.unknown-thing", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_a_name_suggests_the_same_type_on_every_machine(name: str, type: str) -> None:
    assert type_of(name) == type


def test_a_given_type_wins() -> None:
    assert File(b"x", name="a.bin", type="image/png").type == "image/png"


def test_a_file_and_a_path_are_file_results_and_nothing_else_is(in_scratch: Path) -> None:
    file = File(b"x")
    assert as_file(file) is file
    found = as_file(in_scratch / "a.png")
    assert found is not None and found.type == "image/png"
    assert as_file("a.png") is None and as_file(b"x") is None and as_file(None) is None
