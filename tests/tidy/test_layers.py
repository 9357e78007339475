"""The arrows between the layers hold, no import goes round in a circle, and a child stays small."""

import subprocess
import sys

from tests.tidy.layers import cycle, wrong_arrows
from tests.tidy.tree import imports, module, source

KNOWN = frozenset(each.name for each in source())


def test_every_import_follows_an_arrow_of_the_architecture() -> None:
    wrong = [problem for each in source() for problem in wrong_arrows(each, KNOWN)]
    assert not wrong, "\n".join(["imports against the layers (docs/architecture.md):", *wrong])


def test_no_import_goes_round_in_a_circle() -> None:
    graph = {
        each.name: sorted({to for _, to in imports(each, KNOWN) if to in KNOWN} - {each.name}) for each in source()
    }
    assert not (found := cycle(graph)), f"import cycle: {' -> '.join(found)}"


def test_a_child_knows_no_database_and_no_http() -> None:
    code = "import sys, offload, offload.workers.child; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {
        "apsw",
        "sqlite3",
        "starlette",
        "uvicorn",
        "httpx2",
        "rich",
        "prometheus_client",
        "multipart",
        "offload.engine",
    }
    assert not (found := heavy & set(loaded)), (
        f"the worker process loads {sorted(found)}, which makes it slow and large"
    )


def test_the_rule_notices_an_import_against_an_arrow() -> None:
    known = frozenset({"offload.core.task", "offload.engine.engine", "offload.stores.memory", "offload.cli"})
    for path, text in {
        "src/offload/core/task.py": "from offload.engine import engine",
        "src/offload/core/other.py": "import starlette",
        "src/offload/stores/sqlite/store.py": "from offload.stores import memory",
        "src/offload/stores/sqlite/deep.py": "from .. import memory",
        "src/offload/client/api.py": "if TYPE_CHECKING:\n    from offload.core.task import Task",
        "src/offload/engine/hub.py": "def late():\n    import offload.http.app",
        "src/offload/compose.py": "import offload.cli",
        "src/offload/drawer.py": "",
    }.items():
        assert list(wrong_arrows(module(path, text), known)), f"{path}: {text!r} was let through"
    for path, text in {
        "src/offload/engine/hub.py": "from offload.core.task import Task\nimport asyncio",
        "src/offload/client/api.py": "from offload.core.errors import OffloadError\nimport httpx2",
        "src/offload/stores/sqlite/store.py": "from offload.stores.migrate import migrate\nimport apsw",
        "src/offload/cli/serve.py": "import offload.compose",
    }.items():
        assert not list(wrong_arrows(module(path, text), known)), f"{path}: {text!r} was refused"


def test_the_rule_notices_a_cycle() -> None:
    assert cycle({"a": ["b"], "b": ["c"], "c": ["b"]}) == ["b", "c", "b"]
    assert cycle({"a": ["b", "c"], "b": ["c"], "c": []}) == []
