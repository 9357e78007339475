"""What `EVERY_SERVER_ON` says: which combinations there are, and that a server finds its own again."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.backends.every_server import VARIABLE, Combination, combination_of, combinations, variables_of


def test_every_store_with_every_broker_and_every_place_for_files_is_a_combination() -> None:
    assert len(set(combinations())) == 16
    assert [combination_of(str(each)) for each in combinations()] == combinations()


def test_what_is_not_named_is_as_usual_and_gives_no_variables(tmp_path: Path) -> None:
    assert combination_of("") == combination_of("local+sqlite") == Combination()
    assert combination_of("s3+postgresql") == Combination(store="postgresql", broker="native", blobs="s3")
    assert variables_of(tmp_path, Combination()) == {}


def test_each_server_has_its_own_and_the_same_after_a_restart(tmp_path: Path) -> None:
    on = combination_of("redis+s3")
    first, again, other = (variables_of(tmp_path / name, on) for name in ("one", "one", "other"))
    assert first == again and sorted(first) == sorted(other) and "OFFLOAD_STORE" not in first
    assert all(first[name] != other[name] for name in ("OFFLOAD_BROKER", "OFFLOAD_BLOBS"))


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (
            "mysql",
            "EVERY_SERVER_ON=mysql: 'mysql' is none of: store sqlite, postgresql; broker native, redis,",
        ),
        ("redis+sqs", "EVERY_SERVER_ON=redis+sqs: names two of one kind, redis and sqs"),
        ("pair", "sqlite+native+local+pair: one process owns a SQLite file; name postgresql"),
    ],
)
def test_what_there_is_not_is_refused(asked: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        combination_of(asked)


def test_a_wrong_wish_is_told_before_any_test_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", __file__], env={**os.environ, VARIABLE: "mysql"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 4 and "ERROR: EVERY_SERVER_ON=mysql: 'mysql' is none of" in done.stderr


def test_a_story_of_one_store_is_left_out_on_another_and_says_why() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "tests/end_to_end/test_keys.py", "-k", "that_a_server_uses", "-rs"]
    environ = {**os.environ, VARIABLE: "postgresql", "CI": "true"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "left out on postgresql+native+local: one process owns a file" in done.stdout
