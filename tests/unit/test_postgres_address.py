"""URLs of databases: which are taken, and that none ever shows its password."""

import pytest

from offload.core.errors import WrongSetting
from offload.settings import SPECS
from offload.stores.postgres.address import checked, shown


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db/offload",
        "postgres://offload@db.internal:5433/offload",
        "postgresql://offload:s%2Fecr%40et@db/offload?sslmode=verify-full",
        "postgresql://offload:secret@one:5432,two:5433/offload?target_session_attrs=read-write",
        "postgresql://offload@[::1]:5432/offload",
    ],
)
def test_what_libpq_takes_is_taken(url: str) -> None:
    assert checked(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://offload:topsecret@db",
        "postgresql://offload:topsecret@db:port/offload",
        "postgresql://offload:top/secret@db/offload",
        "postgresql://offload:topsecret@with@db/offload",
        "mysql://offload:topsecret@db/offload",
    ],
)
def test_what_is_refused_says_how_to_write_it_and_not_what_the_password_is(url: str) -> None:
    with pytest.raises(WrongSetting, match="write postgresql://") as refused:
        checked(url)
    assert "top" not in str(refused.value) and "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://offload:topsecret@db/offload",
        "postgresql://offload:topsecret@one:1,two:2/offload?password=topsecret",
        "postgresql://offload:top/secret@db/offload",
        "postgresql://offload:top@secret@db/offload",
    ],
)
def test_a_password_is_never_shown(url: str) -> None:
    for text in (shown(url), SPECS["store"].show(url)):
        assert "top" not in text and "secret" not in text
