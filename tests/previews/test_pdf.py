"""Pages of PDF files: drawn by a process that can do nothing else, whatever the file is like."""

import asyncio
import contextlib
import os
import platform
import signal
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import psutil
import pytest

from offload.core.errors import FileDoesNotExist, TryAgain
from offload.ports.previews import NoPreview, Preview
from offload.previews import pdf
from offload.previews.pdf import CHILD, Limits, PdfPreviews, library_folder
from tests import papers
from tests.browser.hostile_files import hostile

pytest.importorskip("pypdfium2", reason="needs the package pypdfium2")
NOTHING: tuple[bytes, ...] = ()
QUICK = Limits(seconds_max=60, cpu_seconds_max=1)


def previews(limits: Limits | None = None) -> PdfPreviews:
    folder = library_folder()
    assert folder is not None
    return PdfPreviews(folder, limits or Limits(seconds_max=60))


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 65_536):
        yield data[start : start + 65_536]


async def draw(data: bytes, number: int = 1, limits: Limits | None = None) -> Preview:
    return await draw_with(previews(limits), data, number)


async def draw_with(drawer: PdfPreviews, data: bytes, number: int = 1) -> Preview:
    return await drawer.page(pieces(data), size=len(data), number=number)


async def refused(data: bytes, number: int = 1, limits: Limits | None = None) -> str:
    with pytest.raises(NoPreview) as raised:
        await draw(data, number, limits)
    assert drawing() == []
    return str(raised.value).removeprefix("no preview of this file: ")


def size_of(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n") and png.endswith(b"IEND\xaeB`\x82")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def drawing(pid: int | None = None) -> list[psutil.Process]:
    """Return the processes that draw now for this one, or for another."""
    return [child for child in psutil.Process(pid).children() if _draws(child)]


def _draws(child: psutil.Process) -> bool:
    try:
        return "draw.py" in " ".join(child.cmdline())
    except psutil.NoSuchProcess:  # it has ended meanwhile, as any child may
        return False


async def test_a_page_becomes_a_picture_that_fits_a_screen() -> None:
    data = papers.paper("one", "two", "three")
    first, third = await draw(data), await draw(data, 3)
    assert (first.pages, third.pages) == (3, 3)
    assert size_of(first.png) == size_of(third.png) == (1060, 1500)
    assert first.png != third.png
    assert drawing() == []


@pytest.mark.parametrize("box", [(200_000, 200_000), (200_000, 1), (1, 200_000), (3, 3)])
async def test_a_page_of_any_size_is_fitted_in(box: papers.Box) -> None:
    width, height = size_of((await draw(papers.paper("x", box=box))).png)
    assert 0 < width <= 1101 and 0 < height <= 1501


async def test_any_of_a_thousand_pages_can_be_asked_for() -> None:
    data = papers.paper(*(f"page {n}" for n in range(1000)))
    assert (await draw(data, 1000)).pages == 1000
    assert await refused(data, 1001) == "it has 1,000 pages, and no page 1,001"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is damaged, or no PDF file"),
        (b"GIF89a" * 100, "it is damaged, or no PDF file"),
        (b"%PDF-1.7\n" + os.urandom(5000), "it is damaged, or no PDF file"),
        (papers.paper("half of it")[:200], "it is damaged, or no PDF file"),
        (papers.locked(), "it is protected by a password"),
        (papers.document([]), "it is damaged, or no PDF file"),
    ],
)
async def test_a_file_that_cannot_be_shown_says_why(data: bytes, said: str) -> None:
    assert await refused(data) == said


async def test_what_a_file_would_run_is_not_run() -> None:
    _, data = hostile("http://127.0.0.1:9")["pdf"]
    assert size_of((await draw(data)).png) == (396, 396)


async def test_a_page_that_takes_for_ever_is_given_up() -> None:
    assert await refused(papers.endless(), limits=QUICK) == "drawing it takes too long"
    async with asyncio.timeout(30):  # long before it has had all its time of the processor
        little = Limits(seconds_max=0.5, cpu_seconds_max=50)
        assert await refused(papers.endless(), limits=little) == "drawing it takes too long"


async def test_a_page_that_takes_all_memory_is_given_up() -> None:
    little = Limits(seconds_max=60, cpu_seconds_max=50, memory_bytes_max=200 * 1024**2)
    assert await refused(papers.greedy(), limits=little) == "drawing it fails"
    assert size_of((await draw(papers.hungry())).png) == (1060, 1500), "what cannot be decoded is left out"


async def test_a_file_beyond_the_limit_is_not_even_read() -> None:
    async def never() -> AsyncIterator[bytes]:
        for piece in NOTHING:
            yield piece
        raise AssertionError("it was read")

    with pytest.raises(NoPreview, match="larger than 1,000 bytes"):
        await previews(Limits(file_bytes_max=1000)).page(never(), size=1001, number=1)
    data = papers.paper("x")
    assert (await draw(data, limits=Limits(seconds_max=60, file_bytes_max=len(data)))).pages == 1


async def test_a_file_that_is_gone_is_said_as_such() -> None:
    async def gone() -> AsyncIterator[bytes]:
        for piece in (b"%PDF",):
            yield piece
        raise FileDoesNotExist("t/1/result")

    with pytest.raises(FileDoesNotExist):
        await previews().page(gone(), size=1000, number=1)
    assert drawing() == []


async def until_it_draws(pid: int | None = None) -> psutil.Process:
    """Return the process once the file has been read and the kernel guards it."""
    until = monotonic() + 50
    while monotonic() < until:
        for process in drawing(pid):
            if "Seccomp:\t2" in Path(f"/proc/{process.pid}/status").read_text():
                return process
        await asyncio.sleep(0.01)
    raise AssertionError("nothing draws")


async def test_the_process_that_draws_can_do_nothing_else_and_goes_with_whoever_asked() -> None:
    asked = asyncio.ensure_future(draw(papers.endless(), limits=Limits(seconds_max=60, cpu_seconds_max=50)))
    process = await until_it_draws()
    status = Path(f"/proc/{process.pid}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert process.environ() == {} and process.cwd() == "/"
    assert sorted(os.listdir(f"/proc/{process.pid}/fd")) == ["1", "2"]
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    assert process.rlimit(psutil.RLIMIT_CPU) == (50, 51), limits
    assert process.rlimit(psutil.RLIMIT_FSIZE) == process.rlimit(psutil.RLIMIT_CORE) == (0, 0), limits
    assert process.rlimit(psutil.RLIMIT_NOFILE) == (16, 16), limits
    assert process.rlimit(psutil.RLIMIT_AS) == (Limits().memory_bytes_max,) * 2, limits
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert drawing() == []


async def test_the_process_that_draws_does_not_outlive_a_server_that_is_killed() -> None:
    asks = """
import asyncio
from offload.previews.pdf import Limits
from tests import papers
from tests.previews.test_pdf import draw
asyncio.run(draw(papers.endless(), limits=Limits(seconds_max=60, cpu_seconds_max=50)))
"""
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", asks], env=paths) as server:
        try:
            process = await until_it_draws(server.pid)
        finally:
            server.kill()
    until = monotonic() + 20
    with contextlib.suppress(psutil.NoSuchProcess):
        while process.status() != psutil.STATUS_ZOMBIE:
            assert monotonic() < until, "it draws on for nobody"
            await asyncio.sleep(0.01)


def test_once_the_file_is_read_the_kernel_refuses_files_sockets_and_processes() -> None:
    tried = """
import os, runpy, socket, sys
confine = runpy.run_path(sys.argv[1])["confine"]
tries = {
    "read": lambda: open("/etc/hostname"), "write": lambda: open("/tmp/x", "w"), "socket": socket.socket,
    "fork": os.fork, "exec": lambda: os.execv("/bin/true", ["true"]), "kill": lambda: os.kill(os.getppid(), 0),
    "listdir": lambda: os.listdir("/"), "chmod": lambda: os.chmod("/", 0o755),
}
confine()
for name, attempt in tries.items():
    try:
        attempt()
        print(name, "was allowed")
    except PermissionError:
        print(name, "was refused")
sys.stdout.flush()
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-I", "-c", tried, str(CHILD)], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 8 and all(line.endswith("was refused") for line in lines), done.stdout


@pytest.mark.skipif(platform.machine() != "x86_64", reason="needs a processor that knows calls of two kinds")
def test_calls_by_the_numbers_of_another_architecture_end_the_process() -> None:
    """There, the number of a call that is allowed may be that of opening a file."""
    tried = """
import ctypes, mmap, os, runpy, sys
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex("53 b8 14 00 00 00 cd 80 5b c3"))  # getpid, as 32-bit programs call it
call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
if sys.argv[2] == "confined":
    runpy.run_path(sys.argv[1])["confine"]()
os._exit(0 if call() == os.getpid() else 1)
"""
    ends = [subprocess.run([sys.executable, "-I", "-c", tried, str(CHILD), how]).returncode for how in ("", "confined")]
    if ends[0] != 0:
        pytest.skip("this kernel runs no 32-bit programs")
    assert ends[1] == -signal.SIGSYS


async def test_an_answer_that_is_no_picture_is_not_taken_in_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken_over = tmp_path / "draw.py"
    taken_over.write_text("import sys\nfor _ in range(40):\n    sys.stdout.buffer.write(bytes(2**20))\n")
    monkeypatch.setattr(pdf, "CHILD", taken_over)
    assert await refused(papers.paper("x")) == "its picture is too large"


async def test_two_are_drawn_at_once_one_waits_and_more_are_told_to_come_back() -> None:
    drawer = previews(Limits(at_once_max=2, waiting_max=1, wait_seconds_max=50, seconds_max=60, cpu_seconds_max=50))
    data, small = papers.endless(), papers.paper("x")
    both = [asyncio.ensure_future(draw_with(drawer, data)) for _ in range(2)]
    await until_it_draws()
    third = asyncio.ensure_future(draw_with(drawer, small))
    await asyncio.sleep(0)
    with pytest.raises(TryAgain, match="try again in 3 s"):
        await draw_with(drawer, small)
    assert len(drawing()) <= 2 and not third.done()
    for each in both:
        each.cancel()
    await asyncio.gather(*both, return_exceptions=True)
    assert (await third).pages == 1, "its turn has come"


async def test_whoever_waits_too_long_is_told_to_come_back() -> None:
    drawer = previews(Limits(at_once_max=1, waiting_max=1, wait_seconds_max=0.1, seconds_max=60, cpu_seconds_max=50))
    first = asyncio.ensure_future(draw_with(drawer, papers.endless()))
    await until_it_draws()
    with pytest.raises(TryAgain):
        await draw_with(drawer, papers.paper("x"))
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert (await draw_with(drawer, papers.paper("x"))).pages == 1, "no place was lost"
