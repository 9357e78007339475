"""Disks of a test's own: a file system in a file that can lose its power, and small ones that fill up."""

import fcntl
import os
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FS_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2
"""Drop everything that was not synced, as a power cut does."""
UNMOUNT_SECONDS = 30.0


class Disk:
    """An ext4 file system in a file. Its mounts come and go; what was synced stays."""

    def __init__(self, image: Path, mount: Path, *, megabytes: int) -> None:
        self.image, self.mount = image, mount
        mount.mkdir(exist_ok=True)
        with image.open("wb") as file:
            file.truncate(megabytes * 1024**2)
        _run("mkfs.ext4", "-q", "-F", str(image))

    def plug_in(self) -> None:
        _run("mount", "-o", "loop", str(self.image), str(self.mount))

    def cut_power(self) -> None:
        """From here on nothing reaches the disk, and what was not synced is gone."""
        directory = os.open(self.mount, os.O_RDONLY)
        try:
            fcntl.ioctl(directory, FS_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(directory)

    def unplug(self) -> None:
        """Unmount, once the processes that used it have ended."""
        until = time.monotonic() + UNMOUNT_SECONDS
        while subprocess.run(["umount", str(self.mount)], capture_output=True).returncode:
            assert time.monotonic() < until, "the disk is still in use"
            os.sched_yield()


@contextmanager
def small_disk(mount: Path, *, megabytes: int) -> Iterator[Path]:
    """Give a file system in memory that is full soon."""
    mount.mkdir(exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(mount))
    try:
        yield mount
    finally:
        until = time.monotonic() + UNMOUNT_SECONDS
        while subprocess.run(["umount", str(mount)], capture_output=True).returncode and time.monotonic() < until:
            os.sched_yield()


def can_mount() -> bool:
    """Tell whether this user may mount: root may, outside of a narrow container."""
    return os.geteuid() == 0 and Path("/dev/loop-control").exists()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
