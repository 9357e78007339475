"""The rules of the house hold in every file, and each rule notices what it is there for."""

import re
from collections.abc import Callable, Iterator

import pytest

from tests.tidy import rules
from tests.tidy.tree import ROOT, Module, module, modules, paths, source, texts

Rule = Callable[[Module], Iterator[str]]


def problems(rule: Rule, among: tuple[Module, ...]) -> str:
    return "\n".join(problem for each in among for problem in rule(each))


def test_files_and_functions_are_short() -> None:
    assert not (found := problems(rules.too_long, modules())), found


def test_every_file_opens_with_a_sentence() -> None:
    assert not (found := problems(rules.no_opening, modules())), found


def test_code_uses_our_words() -> None:
    assert not (found := problems(rules.wrong_words, modules())), found


def test_nothing_is_left_unfinished_and_no_machine_is_named() -> None:
    found = [problem for path, text in texts() for problem in rules.wrong_text(path, text)]
    assert not found, "\n".join(found)


def test_no_code_is_made_from_data_and_no_id_can_be_guessed() -> None:
    shipped = tuple(each for each in modules() if not each.path.startswith("tests/"))
    assert not (found := problems(rules.unsafe, shipped)), found


def test_clock_and_environment_are_handed_in() -> None:
    assert not (found := problems(rules.reads_the_world, source())), found


def test_no_test_sleeps_and_hopes() -> None:
    assert not (found := problems(rules.bare_sleeps, modules())), found


def test_the_changelog_tells_of_the_version_that_is_built() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert version and {version[1], "Unreleased"} & set(headings), (
        f"CHANGELOG.md has {headings}, and nothing on {version}"
    )


def test_every_decision_record_answers_its_questions() -> None:
    records = [path for path in paths() if re.fullmatch(r"docs/decisions/\d{4}-.+\.md", path)]
    for path in records:
        text = (ROOT / path).read_text()
        for part in ("## Question", "## Choice", "## Why", "## What would change our mind"):
            assert part in text, f"{path} has no part {part!r}"


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (rules.too_long, "src/offload/a.py", "x = 1\n" * 401),
        (rules.too_long, "src/offload/a.py", "def f():\n" + "    x = 1\n" * 60),
        (rules.too_long, "src/offload/a.py", "def f(a, b, c, d, e, f): ..."),
        (rules.no_opening, "src/offload/a.py", "import os"),
        (rules.no_opening, "src/offload/a.py", '"""the tasks"""'),
        (rules.wrong_words, "src/offload/a.py", f"{rules.WRONG_NAMES[0]} = 1"),
        (rules.wrong_words, "src/offload/a.py", "class TaskManager: ..."),
        (rules.wrong_words, "src/offload/utils.py", ""),
        (rules.wrong_words, "src/offload/a.py", "# " + "---- reading ----"),
        (rules.unsafe, "src/offload/a.py", "import pickle"),
        (rules.unsafe, "src/offload/a.py", "from pickle import loads"),
        (rules.unsafe, "src/offload/a.py", "eval(text)"),
        (rules.unsafe, "src/offload/a.py", "run(command, shell=True)"),
        (rules.unsafe, "src/offload/a.py", "id = uuid.uuid1()"),
        (rules.unsafe, "src/offload/a.py", "id = UUID(int=random.getrandbits(128))"),
        (rules.reads_the_world, "src/offload/core/a.py", "now = time.time()"),
        (rules.reads_the_world, "src/offload/engine/a.py", "now = datetime.now(UTC)"),
        (rules.reads_the_world, "src/offload/http/a.py", "port = os.environ['PORT']"),
        (rules.bare_sleeps, "tests/unit/test_a.py", "def test_a():\n    time.sleep(1)"),
    ],
)
def test_the_rule_notices(rule: Rule, path: str, text: str) -> None:
    assert list(rule(module(path, text))), f"{text!r} was let through"


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (rules.too_long, "src/offload/a.py", "def f(self, a, b, c, d, e, *, f, g): ..."),
        (rules.too_long, "examples/a.py", "@job(queue='a')\ndef f(a, b, c, d, e, f): ..."),
        (rules.no_opening, "src/offload/a.py", '"""The tasks."""'),
        (rules.reads_the_world, "src/offload/clock.py", "now = time.time()"),
        (rules.bare_sleeps, "tests/a.py", "@job\ndef slow():\n    time.sleep(1)"),
        (rules.bare_sleeps, "tests/a.py", "while not there():\n    time.sleep(0.01)"),
    ],
)
def test_the_rule_lets_through(rule: Rule, path: str, text: str) -> None:
    assert not list(rule(module(path, text)))


def test_the_rule_notices_unfinished_notes_and_addresses() -> None:
    for word in (*rules.WRONG_TEXT, *rules.PRIVATE_TEXT):
        assert list(rules.wrong_text("a.md", f"so {word} and on")), word
