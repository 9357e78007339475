"""The published suite, as somebody uses it who wrote an adapter: what it passes, what it catches, what it refuses."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance import adapters_of_others

PYTEST = str(Path(sys.executable).with_name("pytest"))
SUITE = ["-p", "offload.conformance.plugin", "--pyargs", "offload.conformance"]
SECONDS = 240.0
IN_LINE = "test_tasks_are_claimed_first_come_first_served"
ONCE = "test_claims_at_the_same_time_take_different_tasks"
BROKEN = {
    "loses_tasks": ("store", "tasks_are_claimed_first or keys_grow", IN_LINE),
    "claims_twice": ("store", "claims_at_the_same or does_what_the_table", ONCE),
    "last_come_first_served": ("store", "tasks_are_claimed_first or keys_grow", IN_LINE),
    "forgets_keys": ("store", "idempotency_key", "test_one_idempotency_key_makes_one_task"),
    "forgets_all": ("store", "test_durability", "test_what_was_written_is_there_when_the_store_is_opened_again"),
    "same_for_all": ("store", "test_durability", "test_a_new_place_holds_nothing_of_another"),
    "raises": ("broker", "taken_once", "test_a_token_that_was_announced_is_taken_once"),
    "keeps_halves": (
        "blobs",
        "not_there_before or more_than_the_limit",
        "test_a_blob_is_not_there_before_it_is_committed",
    ),
}
"""An adapter, what it is, some tests, and the one of them that must catch it."""
REFUSED = {
    "nothing": ([], "say what to check, with one or several of --offload-store MODULE:FACTORY"),
    "no such module": (["--offload-store", "stole.adapters:whole"], "there is no module stole, neither in "),
    "no such function": (["--offload-store", "stall.adapters:whale"], "holds no 'whale'; did you mean 'whole'?"),
    "no function": (
        ["--offload-store", "stall.adapters:NO_FUNCTION"],
        "stall.adapters:NO_FUNCTION is no function but dict",
    ),
    "no colon": (["--offload-store", "stall.adapters"], "'stall.adapters' is not MODULE:FACTORY, as in"),
    "broken module": (["--offload-store", "stall.broken:whole"], "broken.py:3: ZeroDivisionError: division by zero"),
    "no context manager": (["--offload-store", "stall.adapters:coroutine"], "below @contextlib.asynccontextmanager"),
    "away": (["--offload-store", "stall.adapters:away"], "ConnectionRefusedError: nobody listens there"),
    "not whole": (["--offload-store", "stall.adapters:unfinished"], "\n  TaskStore.claim is missing\n"),
    "another signature": (
        ["--offload-store", "stall.adapters:unfinished"],
        "\n  TaskStore.apply cannot be called as the port says: missing a required argument: 'really'\n",
    ),
    "a part that is missing": (["--offload-store", "stall.adapters:unfinished"], "\n  keys is missing: a KeyStore\n"),
    "another port": (["--offload-broker", "stall.adapters:bell"], "\n  Broker.announce is missing\n"),
    "no part": (["--offload-without", "cats"], "'cats' is no part of a store: deliveries, keys, history, schedules"),
}
"""Options that cannot be run with, and what is said about them."""
HANGS = """
import asyncio
import pytest

@pytest.mark.deadline(0.1)
async def test_what_never_comes():
    await asyncio.Event().wait()
"""
RUNS = """
import contextlib, io, json, sys
import pytest

for name, arguments in json.load(sys.stdin).items():
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = int(pytest.main(arguments))
    print(json.dumps([name, code, said.getvalue()]))
"""
"""Runs pytest for each list of arguments in one process: to start another takes a second."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a run of pytest came to."""

    code: int
    said: str

    @property
    def failed(self) -> set[str]:
        return set(re.findall(r"^FAILED \S+::(\w+)", self.said, re.MULTILINE))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a directory with a package of somebody else."""
    package = tmp_path / "stall"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "broken.py").write_text('"""Cannot be imported."""\n\nwhole = 1 / 0\n')
    shutil.copy(adapters_of_others.__file__, package / "adapters.py")
    return tmp_path


def test_adapters_that_keep_every_promise_pass_by_the_command_that_is_told(home: Path) -> None:
    given = {"store": "whole", "broker": "broker", "bell": "bell", "blobs": "blobs"}
    options = [word for kind, name in given.items() for word in (f"--offload-{kind}", f"stall.adapters:{name}")]
    more = ["--offload-blobs", "stall.adapters:looked_at", "--offload-stories", "2"]
    done = subprocess.run(
        [PYTEST, *SUITE, *options, *more], cwd=home, env=_environ(), text=True, capture_output=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"=+ (\d+) passed in ", done.stdout)
    assert passed and int(passed[1]) > 200, done.stdout  # and none is skipped or left out
    assert "offload blobs: stall.adapters:blobs, stall.adapters:looked_at" in done.stdout


def test_an_adapter_that_breaks_a_promise_is_caught_by_the_test_of_that_promise(home: Path) -> None:
    wanted = {
        name: [*SUITE, "-q", f"--offload-{kind}", f"stall.adapters:{name}", "-k", some]
        for name, (kind, some, _) in BROKEN.items()
    }
    for name, ran in _run(home, wanted).items():
        *_, catches = BROKEN[name]
        assert ran.code == pytest.ExitCode.TESTS_FAILED, f"{name}: {ran.said}"
        assert catches in ran.failed, f"{name}: {ran.said}"
        assert name != "last_come_first_served" or "At index 0 diff: " in ran.said, ran.said


def test_what_cannot_be_checked_is_refused_in_one_sentence(home: Path) -> None:
    for name, ran in _run(home, {name: [*SUITE, "-q", *options] for name, (options, _) in REFUSED.items()}).items():
        _, sentence = REFUSED[name]
        assert ran.code == pytest.ExitCode.USAGE_ERROR, f"{name}: {ran.said}"
        assert sentence in ran.said, f"{name}: {ran.said}"
        assert "Traceback" not in ran.said, f"{name}: {ran.said}"


def test_parts_that_are_not_there_yet_and_nodes_that_never_will_be_are_skipped_and_told_of(home: Path) -> None:
    options = ["--offload-store", "stall.adapters:for_one_node", "--offload-without", "keys,history", "-rs"]
    some = "test_history_store or test_key_store or test_node_store or test_file_store"
    (ran,) = _run(home, {"": [*SUITE, "-q", *options, "-k", some]}).values()
    assert ran.code == 0, ran.said
    assert re.search(r"^3 passed, 1\d skipped, ", ran.said, re.MULTILINE), ran.said
    assert "the store has no `nodes`: it is for one node" in ran.said
    assert "offload: this store is not whole, it is without history, keys: a server needs them" in ran.said


def test_only_tests_of_what_was_given_run_and_a_pairing_has_its_other_half_in_memory(home: Path) -> None:
    wanted = {kind: [*SUITE, "-q", f"--offload-{kind}", f"stall.adapters:{kind}"] for kind in ("bell", "broker")}
    wanted["broker"] += ["-k", "three_times or test_bell"]
    for kind, ran in _run(home, wanted).items():
        assert ran.code == 0, ran.said
        assert re.search(r"^\d+ passed, \d+ deselected in ", ran.said, re.MULTILINE), f"{kind}: {ran.said}"


def test_the_tests_can_be_imported_into_a_suite_that_has_its_own_fixtures(home: Path) -> None:
    (home / "conftest.py").write_text('pytest_plugins = ["offload.conformance.plugin"]\n')
    tests = (
        "from offload.conformance.test_claims_for_owners import *\nfrom offload.conformance.test_file_store import *\n"
    )
    (home / "check_none.py").write_text(tests)
    fixture = "@pytest.fixture\ndef store_factory():\n    return adapters.last_come_first_served\n"
    (home / "check_own.py").write_text(f"import pytest\nfrom stall import adapters\n{tests}\n{fixture}")
    (home / "check_hangs.py").write_text(HANGS)
    names = ["-q", "-o", "python_files=check_*.py"]  # so that pytest does not know by theirs what our tests are
    ran = _run(home, {name: [*names, f"check_{name}.py"] for name in ("own", "none", "hangs")})
    assert ran["own"].failed == {"test_a_claim_for_an_owner_takes_only_theirs_in_line_order"}, ran["own"].said
    assert "1 failed, 3 passed" in ran["own"].said and "At index 0 diff: " in ran["own"].said
    assert "1 failed" in ran["hangs"].said and "TimeoutError" in ran["hangs"].said, "no test waits for ever"
    assert "4 errors" in ran["none"].said and "--offload-store MODULE:FACTORY, or a fixture store" in ran["none"].said


def test_a_server_loads_nothing_of_it() -> None:
    code = "import sys, offload.cli.main, offload.compose; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"offload.conformance", "pytest", "hypothesis"} & set(loaded)


def _run(home: Path, wanted: Mapping[str, list[str]]) -> dict[str, Ran]:
    done = subprocess.run(
        [sys.executable, "-c", RUNS],
        cwd=home,
        env=_environ(),
        input=json.dumps(wanted),
        text=True,
        capture_output=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return {name: Ran(code=code, said=said) for name, code, said in map(json.loads, done.stdout.splitlines())}


def _environ() -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "CI"))}
    return {
        **own,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }  # to load plugins that happen to be here takes a second or two
