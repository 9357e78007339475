"""Programs that tests use and tests/install_tools.sh installs; a test whose program is missing is skipped."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

NODE_OLDEST = (20, 3)
_INSTALL = "as root, tests/install_tools.sh installs it"


def node() -> str:
    """Return a Node that is new enough: the system's (that of Debian 12 is not), else the one within playwright."""
    found = [shutil.which("node")]
    try:
        import playwright

        found.append(str(Path(playwright.__file__).parent / "driver" / "node"))
    except ImportError:
        pass
    for path in filter(None, found):
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
        version = re.match(r"v(\d+)\.(\d+)", said)
        if version and (int(version[1]), int(version[2])) >= NODE_OLDEST:
            return path
    pytest.skip(f"needs Node {'.'.join(map(str, NODE_OLDEST))} or later, or the package playwright, which brings one")


def tsc() -> str:
    """Return the compiler of TypeScript."""
    return shutil.which("tsc") or pytest.skip(f"needs tsc; {_INSTALL}")


def chromium() -> str:
    """Return Chromium, or what the variable CHROMIUM names in its place."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    return found or pytest.skip(f"needs chromium; {_INSTALL}")
