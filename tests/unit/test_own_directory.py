"""A process's own directory is safe from others while it lives, and removed by them when it was killed."""

import subprocess
import sys
from pathlib import Path

from offload.own_directory import OwnDirectory

MAKE = """
import sys
from pathlib import Path
from offload.own_directory import OwnDirectory
mine = OwnDirectory(Path(sys.argv[1]))
(mine.path / "half").write_text("made")
print(mine.path, flush=True)
sys.stdin.read()
"""


def test_what_a_living_process_makes_is_left_alone_and_what_a_killed_one_left_is_removed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MAKE, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        theirs = Path(process.stdout.readline().strip())
        mine = OwnDirectory(tmp_path)
        assert mine.path != theirs
        assert (theirs / "half").exists()
        process.kill()
        process.wait()
    other = OwnDirectory(tmp_path)
    assert not theirs.exists()
    assert mine.path.exists()
    other.remove()
    mine.remove()
    assert list(tmp_path.iterdir()) == []


def test_one_that_is_let_go_is_removed_by_the_next(tmp_path: Path) -> None:
    path = OwnDirectory(tmp_path).path
    assert path.exists()
    kept = OwnDirectory(tmp_path)
    assert not path.exists()
    assert kept.path.exists()
