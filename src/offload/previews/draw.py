"""Draws one page of a PDF file that strangers made, in a process of its own: first its limits, then the library.

Run by path, as `python -I -S draw.py FOLDER BYTES PAGE CPU_SECONDS MEMORY_BYTES PARENT`, with the file at its input; of
ours it imports nothing.
"""

import contextlib
import ctypes
import io
import json
import os
import platform
import resource
import signal
import struct
import sys
import zlib
from typing import Any

WIDTH_MAX, HEIGHT_MAX = 1100, 1500
"""Pixels: what a page is fitted into, however large it says it is."""
SCALE_MAX = 4.0
OPEN_FILES_MAX = 16
NICE = 10
OOM_SCORE_ADJUSTMENT = 800
"""When memory runs out, this goes before any worker and long before the server."""

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SECCOMP_MODE_FILTER = 2
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000
"""To refuse is to answer EPERM."""
MACHINES: dict[str, tuple[int, tuple[int, ...]]] = {
    # memory, time, chance, signals and the pipes that are open: read write close fstat lseek mmap mprotect munmap brk
    # rt_sigaction rt_sigprocmask rt_sigreturn mremap madvise sched_yield getpid exit gettimeofday futex clock_gettime
    # exit_group getrandom
    "x86_64": (0xC000003E, (
        0, 1, 3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 25, 28, 24, 39, 60, 96, 202, 228, 231, 318,
    )),
    "aarch64": (0xC00000B7, (
        63, 64, 57, 80, 62, 222, 226, 215, 214, 134, 135, 139, 216, 233, 124, 172, 93, 169, 98, 113, 94, 278,
    )),
}  # fmt: skip
"""What the kernel is still asked for once the file has been read, by kind of machine."""
PASSWORD = 4
"""What the library calls a file that needs one."""


def main(folder: str, size: int, number: int, *limits: int) -> None:
    restrict(*limits)
    sys.path.append(folder)
    import pypdfium2

    file = (ctypes.c_char * size)()
    with open(0, "rb") as given:
        if given.readinto(memoryview(file).cast("B")) != size:
            raise SystemExit("the file ended too early")
    confine()
    try:
        answer, png = drawn(pypdfium2, file, number)
    except MemoryError:
        answer, png = {"why": "memory"}, b""
    with io.FileIO(1, "w", closefd=False) as out:
        whole = memoryview(json.dumps(answer).encode() + b"\n" + png)
        while whole:
            whole = whole[out.write(whole) :]
    os._exit(0)  # what the library would still tidy up can only go wrong


def restrict(cpu_seconds: int, memory_bytes: int, parent: int) -> None:
    """Take from this process what it could take from others, and have it end with the one that started it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
            score.write(str(OOM_SCORE_ADJUSTMENT))
    os.nice(NICE)
    for which, most, more in (
        (resource.RLIMIT_AS, memory_bytes, 0),
        (resource.RLIMIT_CPU, cpu_seconds, 1),  # first the signal that tells why, then the one that nothing survives
        (resource.RLIMIT_FSIZE, 0, 0),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES_MAX, 0),
    ):
        hard = resource.getrlimit(which)[1]
        top = most + more if hard == resource.RLIM_INFINITY else min(most + more, hard)
        try:
            resource.setrlimit(which, (min(most, top), top))
        except (OSError, ValueError):  # a system may know a limit and refuse to set it
            if sys.platform == "linux":
                raise


def confine() -> None:
    """Have the kernel refuse whatever drawing does not need: files, sockets, processes. Where it cannot, limits do."""
    if sys.platform != "linux" or platform.machine() not in MACHINES or sys.maxsize < 2**32:
        return
    architecture, allowed = MACHINES[platform.machine()]
    steps = [
        (LOAD, 0, 0, 4),  # the architecture: another one has other numbers
        (JUMP_IF_EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, 0),  # the number of the call
        *((JUMP_IF_EQUAL, len(allowed) - at, 0, number) for at, number in enumerate(allowed)),
        (RETURN, 0, 0, REFUSE),
        (RETURN, 0, 0, ALLOW),
    ]
    program = b"".join(struct.pack("HBBI", *step) for step in steps)
    kept = ctypes.create_string_buffer(program, len(program))
    filter_of = struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(kept))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_ulong]
    prctl(PR_SET_NO_NEW_PRIVS, 1, None, 0, 0)
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter_of, 0, 0)


def drawn(library: Any, file: object, number: int) -> tuple[dict[str, object], bytes]:
    """Return what to say, and the picture; empty when there is none."""
    try:
        document = library.PdfDocument(file)
        pages = len(document)
    except library.PdfiumError as error:
        return {"why": "password" if error.err_code == PASSWORD else "broken"}, b""
    if number > pages:
        return {"why": "number", "pages": pages}, b""
    try:
        page = document[number - 1]
        width, height = page.get_size()
        if not (0 < width < 1e9 and 0 < height < 1e9):
            return {"why": "page", "pages": pages}, b""
        scale = min(WIDTH_MAX / width, HEIGHT_MAX / height, SCALE_MAX)
        picture = page.render(scale=scale, rev_byteorder=True)
    except library.PdfiumError:
        return {"why": "page", "pages": pages}, b""
    return {"pages": pages}, png_of(picture)


def png_of(picture: Any) -> bytes:
    """Return the PNG of a picture of three bytes a pixel, red first."""
    width, height, stride = picture.width, picture.height, picture.stride
    if picture.n_channels == 3:
        kind, used = 2, width * 3
    else:
        kind, used = 0, width
    pixels = memoryview(picture.buffer).cast("B")
    rows = b"".join(b"\0" + bytes(pixels[y * stride : y * stride + used]) for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 4)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:7]))
