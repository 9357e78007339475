"""Adapters of others are found by the scheme of a URL, and none can take the place of ours."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from offload import compose, others, storage
from offload.blobs.opening import EXTRAS
from offload.core.errors import WrongSetting
from offload.settings import Settings

STALL = """
from contextlib import asynccontextmanager
from offload.core.errors import StoreUnavailable
from offload.stores.memory import MemoryStore
from offload.stores.memory_nodes import MemoryNodes

tries = 0

def opened(*given):
    return given

@asynccontextmanager
async def shared(url, node):
    global tries
    tries += 1
    if tries == 1:
        raise StoreUnavailable("it is starting")
    store = MemoryStore()
    store.nodes = MemoryNodes()
    yield store
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install a package that says it opens a scheme of its own, a broken one, and ours."""
    about = tmp_path / "stall-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: stall\nVersion: 1.0\n")
    points = "stall = stall_for_tests:opened\nbroken = stall_for_tests:no_such\nsqlite = stall_for_tests:opened\n"
    points += "shared = stall_for_tests:shared\n"
    points += "redis = stall_for_tests:opened\ns3 = stall_for_tests:opened\n"
    (about / "entry_points.txt").write_text("".join(f"[{group}]\n{points}\n" for group in others.GROUPS.values()))
    (tmp_path / "stall_for_tests.py").write_text(STALL)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("stall_for_tests", None)


def test_what_an_installed_package_opens_is_found_by_its_scheme(installed: None) -> None:
    for setting in others.GROUPS:
        found = others.opener(setting, "stall://here")
        assert found is not None and found("a", "b") == ("a", "b")
        assert others.is_known(setting, "stall://here")
        for url in ("", "native", "stall", "market://here"):
            assert others.opener(setting, url) is None and not others.is_known(setting, url)


def test_no_package_can_open_what_is_ours(installed: None) -> None:
    assert not others.is_known("store", "sqlite:///x")
    assert not others.is_known("broker", "redis://x")
    assert not others.is_known("blobs", "s3://x")
    assert set(others.OURS["broker"]) == {compose.NATIVE, *compose.BROKERS}
    assert set(others.OURS["blobs"]) == {"file", *EXTRAS}


def test_a_package_that_cannot_be_imported_is_named(installed: None) -> None:
    with pytest.raises(
        WrongSetting, match="store: broken:// is opened by stall_for_tests:no_such, which cannot be had"
    ):
        others.opener("store", "broken://x")


def test_a_scheme_that_nobody_opens_is_refused(installed: None) -> None:
    for settings in (Settings(store="market://x"), Settings(store="market:")):
        with pytest.raises(WrongSetting, match="sqlite:///path"):
            storage.file_of(settings)
    with pytest.raises(WrongSetting, match="redis://"):
        compose.open_broker("market://x", node="n")


async def test_a_store_that_has_nodes_is_shared_and_without_a_bell_they_look(
    installed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "PAUSE_SECONDS", 0.01)
    async with storage.open_storage(Settings(store="shared://x"), node="n") as opened:
        assert await opened.nodes.all() == [] and not opened.bell.alone
        assert storage.kind_of(Settings(store="shared://x")) == "shared"


def test_nothing_secret_is_in_a_bare_url() -> None:
    assert others.bare("stall://me:secret@host:1/x?key=secret#y") == "stall://host:1/x"
