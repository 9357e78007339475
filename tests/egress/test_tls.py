"""TLS through the door: every certificate is verified against the name in the URL, always."""

import datetime
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from offload.core.errors import ExchangeFailed, Unreachable, WrongSetting
from offload.egress import Door
from offload.ports import Answer
from tests.egress.zoo import QUICK, Visit, Zoo


async def ok(visit: Visit) -> None:
    await visit.answer("200 OK", b"ok")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[trustme.CA, Path]]:
    made = trustme.CA()
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    made.cert_pem.write_to_path(path)
    yield made, path


def serving(cert: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cert.configure_cert(context)
    return context


async def call(zoo: Zoo, ca: Path | None, host: str = "hook.test") -> Answer:
    door = Door(allow=["127.0.0.1"], ca_file=ca, limits=QUICK, lookup=lambda name: ["127.0.0.1"])
    return await door.send(zoo.url("/", host), headers={}, body=b"")


async def test_a_certificate_of_the_operators_own_authority_is_trusted(authority: tuple[trustme.CA, Path]) -> None:
    ca, path = authority
    asked: list[str | None] = []
    tls = serving(ca.issue_cert("hook.test", "127.0.0.1"))
    tls.sni_callback = lambda sock, name, context: asked.append(name)
    async with Zoo({"/": ok}, tls=tls).open() as zoo:
        assert (await call(zoo, path)).body == b"ok"
        assert (await call(zoo, path, "HOOK.test.")).body == b"ok"
        assert (await call(zoo, path, "127.0.0.1")).body == b"ok"
        assert asked == ["hook.test", "hook.test", None], "the name in the URL, not the address"


async def test_what_cannot_be_verified_gets_no_request(authority: tuple[trustme.CA, Path]) -> None:
    ca, path = authority
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    cases = {
        "wrong name": (ca.issue_cert("other.test"), path),
        "wrong address": (ca.issue_cert("10.0.0.1"), path),
        "expired": (ca.issue_cert("hook.test", not_before=past, not_after=past + datetime.timedelta(days=1)), path),
        "not yet valid": (
            ca.issue_cert("hook.test", not_before=past.replace(year=2090), not_after=past.replace(year=2091)),
            path,
        ),
        "unknown authority": (trustme.CA().issue_cert("hook.test"), path),
        "only the machine's own": (ca.issue_cert("hook.test"), None),
    }
    for name, (cert, trusted) in cases.items():
        async with Zoo({"/": ok}, tls=serving(cert)).open() as zoo:
            with pytest.raises(ExchangeFailed, match="trusted"):
                await call(zoo, trusted)
            assert not zoo.visits, name


async def test_a_server_that_speaks_no_tls_is_not_spoken_to(authority: tuple[trustme.CA, Path]) -> None:
    async with Zoo({"/": ok}).open() as zoo:
        door = Door(allow=["127.0.0.1"], ca_file=authority[1], limits=QUICK)
        with pytest.raises((ExchangeFailed, Unreachable)):
            await door.send(zoo.url("/").replace("http:", "https:"), headers={}, body=b"")
        assert not zoo.visits


def test_old_tls_is_not_offered() -> None:
    from offload.egress.door import _tls

    context = _tls(None)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname


def test_a_file_without_certificates_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for path in (tmp_path / "ca.pem", tmp_path / "missing.pem"):
        with pytest.raises(WrongSetting, match="egress_ca_file"):
            Door(ca_file=path)
