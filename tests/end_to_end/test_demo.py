"""The demo, as `make demo` runs it: a stranger's first minute."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.deadline(300)
def test_the_demo_processes_real_files_and_says_where_they_are(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "examples/demo.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Everything worked" in done.stdout
    for named in re.findall(r"demo-output/\S+\.(?:jpg|html|pdf)", done.stdout):
        assert (tmp_path / named).stat().st_size > 1_000, f"{named} was promised"
    assert (tmp_path / "demo-output/mauna_loa_co2.pdf").read_bytes().startswith(b"%PDF")
    assert [path.name for path in tmp_path.iterdir()] == ["demo-output"], "the demo left something behind"
