"""The user's file is imported, and what is wrong with it is said in the user's terms."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from offload.core.errors import CannotLoadJobs, WrongJob
from offload.loading import load_catalog, load_module

JOB = "from offload import job\n\n@job\ndef add(a: int, b: int = 2) -> int:\n    return a + b\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def why_not(target: str) -> str:
    with pytest.raises(CannotLoadJobs) as found:
        load_catalog(target)
    return str(found.value)


@pytest.mark.parametrize("target", ["gallery.py", "./gallery.py", "gallery"])
def test_a_file_or_module_gives_its_jobs(home: Path, target: str) -> None:
    (home / "gallery.py").write_text(JOB)
    assert list(load_catalog(target).jobs) == ["add"]


def test_a_file_elsewhere_can_import_its_neighbours(home: Path) -> None:
    (home / "shop").mkdir()
    (home / "shop" / "prices_of_the_shop.py").write_text("PRICE = 3\n")
    (home / "shop" / "my-jobs.py").write_text("from prices_of_the_shop import PRICE\n" + JOB)
    assert list(load_catalog("shop/my-jobs.py").jobs) == ["add"]
    assert load_module("shop/my-jobs.py").PRICE == 3


def test_a_module_in_a_package_may_import_relatively(home: Path) -> None:
    (home / "shop").mkdir()
    (home / "shop" / "__init__.py").write_text("")
    (home / "shop" / "prices.py").write_text("PRICE = 3\n")
    (home / "shop" / "jobs.py").write_text("from .prices import PRICE\n" + JOB)
    assert list(load_catalog("shop.jobs").jobs) == ["add"]
    assert "name the module instead of its file" in why_not("shop/jobs.py")


def test_loading_twice_gives_the_same_module(home: Path) -> None:
    (home / "gallery.py").write_text(JOB)
    assert load_module("gallery.py") is load_module("gallery.py")


def test_another_file_of_the_same_name_takes_its_place(home: Path) -> None:
    (home / "gallery.py").write_text(JOB)
    (home / "shop").mkdir()
    (home / "shop" / "gallery.py").write_text(JOB.replace("add", "plus"))
    assert list(load_catalog("gallery.py").jobs) == ["add"]
    assert list(load_catalog("shop/gallery.py").jobs) == ["plus"]


def test_a_missing_file_suggests_one_of_almost_that_name(home: Path) -> None:
    (home / "gallery.py").write_text(JOB)
    assert why_not("galery.py") == "there is no file galery.py; did you mean gallery.py?"
    assert why_not("nothing/like/it.py") == "there is no file nothing/like/it.py"


def test_a_missing_module_suggests_the_file(home: Path) -> None:
    (home / "gallery.py").write_text(JOB)
    assert why_not("galery") == "there is no module galery; did you mean gallery.py?"
    (home / "shop").mkdir()
    assert "there is no module shop.jobs" in why_not("shop.jobs")


def test_a_directory_or_nonsense_is_told_apart(home: Path) -> None:
    (home / "shop").mkdir()
    assert "is a directory" in why_not("./shop")
    assert "neither a file nor a module" in why_not("gallery:app")
    (home / "jobs.txt").write_text(JOB)
    assert "must end in .py" in why_not("./jobs.txt")


def test_a_module_without_jobs_says_how_to_make_one(home: Path) -> None:
    (home / "gallery.py").write_text("def add(a, b): ...\n")
    assert why_not("gallery.py") == "gallery.py holds no job: mark a function with @offload.job"


def test_a_syntax_error_is_shown_with_its_line(home: Path) -> None:
    (home / "gallery.py").write_text("x = 1\ndef add(:\n    pass\n")
    assert why_not("gallery.py").startswith("gallery.py:2: SyntaxError: ")
    assert "def add(:" in why_not("gallery.py")


def test_an_error_is_shown_at_the_users_own_line(home: Path) -> None:
    (home / "gallery.py").write_text("import json\n\njson.loads('{')\n")
    shown = why_not("gallery.py")
    assert shown.startswith("gallery.py:3: json.decoder.JSONDecodeError: ")
    assert shown.endswith("\n    json.loads('{')")


def test_a_missing_package_asks_whether_it_is_installed_here(home: Path) -> None:
    (home / "gallery.py").write_text("import nothing_of_that_name\n")
    assert why_not("gallery.py").startswith("gallery.py:1: ModuleNotFoundError: No module named 'nothing_of_that_name'")
    assert sys.executable in why_not("gallery.py")
    assert why_not("gallery").startswith("gallery.py:1: ModuleNotFoundError")


def test_a_script_that_ends_the_program_is_named(home: Path) -> None:
    (home / "gallery.py").write_text("import sys\nsys.exit(0)\n")
    assert "ends the program when it is imported" in why_not("gallery.py")
    assert why_not("gallery.py").startswith("gallery.py:2: ")


def test_a_file_that_hides_another_module_is_refused(home: Path) -> None:
    (home / "queue.py").write_text(JOB)
    assert "would hide it: rename the file" in why_not("queue.py")
    assert not hasattr(sys.modules.get("queue"), "add")


def test_after_a_failed_load_the_corrected_file_loads(home: Path) -> None:
    (home / "gallery.py").write_text("boom\n")
    assert why_not("gallery.py").startswith("gallery.py:1: NameError")
    (home / "gallery.py").write_text(JOB)
    assert list(load_catalog("gallery.py").jobs) == ["add"]


def test_wrong_jobs_are_shown_with_file_and_line(home: Path) -> None:
    (home / "gallery.py").write_text("from offload import job\n\n@job\ndef add(*numbers: int) -> int: ...\n")
    with pytest.raises(WrongJob) as found:
        load_catalog("gallery.py")
    assert found.value.problems == [
        "gallery.py:3 add(): *numbers has no names for a client to use; take a list parameter instead"
    ]
    (home / "shop.py").write_text("from offload import job\n\n@job(timeout=0)\ndef add() -> int: ...\n")
    with pytest.raises(WrongJob, match=r"^shop.py:3 add\(\): timeout=0 is wrong"):
        load_catalog("shop.py")
