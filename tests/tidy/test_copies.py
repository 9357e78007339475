"""The JavaScript client that the server serves is the one in clients/js, byte for byte."""

from offload.http.pages import CLIENT
from tests.tidy.tree import ROOT

SOURCE = ROOT / "clients" / "js"
SERVED = ROOT / "src" / "offload" / "http" / "assets" / "javascript"


def test_the_server_serves_the_client_as_it_is() -> None:
    modules = {
        str(path.relative_to(SOURCE)) for path in (*SOURCE.glob("client*"), *SOURCE.glob("client/*")) if path.is_file()
    }
    assert modules == set(CLIENT), "src/offload/http/pages.py lists what is served"
    served = {str(path.relative_to(SERVED)) for path in SERVED.rglob("*") if path.is_file()}
    assert served == modules
    for name in modules:
        same = (SOURCE / name).read_bytes() == (SERVED / name).read_bytes()
        assert same, f"edit clients/js/{name}, then: cp clients/js/{name} src/offload/http/assets/javascript/{name}"
