"""The directories that attempts work in: an empty one for each, used again as long as nobody wrote into it."""

import os
import shutil
from pathlib import Path


class Scratch:
    """Hands out empty directories below one of this process's own."""

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.realpath(root))
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._empty: list[Path] = []
        self._made = 0

    def take(self) -> Path:
        """Return an empty directory; making one costs as much as a short task, so empty ones are kept."""
        if self._empty:
            return self._empty.pop()
        self._made += 1
        path = self._root / str(self._made)
        path.mkdir(mode=0o700)
        return path

    def give_back(self, path: Path) -> None:
        """Keep the directory when it is still empty, else remove it with all that is in it."""
        try:
            with os.scandir(path) as entries:
                if next(entries, None) is None:
                    self._empty.append(path)
                    return
        except OSError:
            pass  # the job removed it, or took our right to read it
        shutil.rmtree(path, ignore_errors=True)
