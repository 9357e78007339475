"""The small rules of wrapping: which requests are slow, which applications are which, what a response may be."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from offload.core.errors import CannotLoadJobs, WrongSetting
from offload.settings import Settings
from offload.wrap.apps.jobs import Plan
from offload.wrap.apps.loaded import load_app, speaks_asgi
from offload.wrap.apps.messages import BrokenResponse, Head, ResponseFile, end_to_end, redacted, whole
from offload.wrap.apps.routes import read_slow, slow_job
from offload.wrap.apps.upstream import check_upstream
from offload.wrap.starting import settings_for


@pytest.mark.parametrize(
    ("patterns", "method", "path", "expected"),
    [
        (["/transcribe"], "POST", "/transcribe", "request"),
        (["/transcribe"], "POST", "/transcribe/more", None),
        (["/transcribe"], "POST", "/Transcribe", None),
        (["/render/*"], "GET", "/render/a/b", "request"),
        (["POST /orders"], "GET", "/orders", None),
        (["POST /orders"], "POST", "/orders", "request"),
        (["/render/*=2"], "GET", "/render/a", "request-render"),
        (["/a=1", "/a/=2"], "GET", "/a/", "request-a-more"),
        (["/*=3", "/x"], "GET", "/x", "request-all"),
        (["/x", "/*=3"], "GET", "/x", "request"),
        ([], "GET", "/", None),
    ],
)
def test_the_first_pattern_that_fits_names_the_line(
    patterns: list[str], method: str, path: str, expected: str | None
) -> None:
    assert slow_job(read_slow(patterns), method, path) == expected


@pytest.mark.parametrize("pattern", ["transcribe", "", "post /x", "/x=0", "/x=many", "/x y", "POST", "http://x/"])
def test_a_pattern_that_means_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(WrongSetting, match="slow route"):
        read_slow([pattern])


def test_secrets_leave_a_head_and_come_back_to_their_places() -> None:
    fields = [("cookie", "a"), ("x-two", "1"), ("authorization", "b"), ("cookie", "c"), ("x-api-key", "d")]
    shown, secrets = redacted(fields)
    assert [value for _, value in shown] == ["[redacted]", "1", "[redacted]", "[redacted]", "[redacted]"]
    given = {"method": "GET", "path": "/", "headers": [list(field) for field in shown]}
    assert whole(given, msgspec.json.encode(secrets)) == Head(method="GET", path="/", headers=fields)


def test_what_is_said_to_the_next_machine_goes_no_further() -> None:
    fields = [("Connection", "close, X-Mine"), ("x-mine", "1"), ("TE", "trailers"), ("Accept", "a"), ("upgrade", "x")]
    assert end_to_end(fields) == [("Accept", "a")]


@pytest.mark.parametrize(
    ("status", "fields", "chunks", "complaint"),
    [
        (200, [("X-Evil", "a\r\nSet-Cookie: b")], [], "line break"),
        (200, [("Content-Length", "5")], [b"four"], "not whole"),
        (200, [("Content-Length", "5"), ("Content-Length", "4")], [b"four"], "Content-Length"),
        (101, [], [], "status"),
        (999, [], [], "status"),
    ],
)
def test_a_response_that_no_server_could_send_is_no_result(
    tmp_path: Path, status: int, fields: list[tuple[str, str]], chunks: list[bytes], complaint: str
) -> None:
    response = ResponseFile(tmp_path / "response", 1000)
    try:
        with pytest.raises(BrokenResponse, match=complaint):
            response.start(status, fields)
            for chunk in chunks:
                response.write(chunk)
            response.finish()
    finally:
        response.close()


def test_a_response_beyond_the_limit_takes_no_room_on_the_disk(tmp_path: Path) -> None:
    response = ResponseFile(tmp_path / "response", 1000)
    response.start(200, [])
    for _ in range(100):
        response.write(b"x" * 500)
    response.finish()
    assert response.is_too_large and 1000 < (tmp_path / "response").stat().st_size < 1200


def test_applications_are_told_apart_by_how_they_are_called() -> None:
    def wsgi(environ: Any, start_response: Any) -> Iterable[bytes]:
        return []

    async def asgi(scope: Any, receive: Any, send: Any) -> None: ...

    class Callable:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    def decorated(*given: Any) -> Any: ...

    def returns_awaitable(scope: Any, receive: Any, send: Any) -> Any: ...

    assert [speaks_asgi(app) for app in (wsgi, asgi, Callable(), decorated, returns_awaitable)] == [
        False, True, True, False, True,
    ]  # fmt: skip
    with pytest.raises(CannotLoadJobs, match="neither"):
        speaks_asgi(lambda one: None)


def test_an_application_is_found_by_module_file_attribute_or_factory(tmp_path: Path) -> None:
    (tmp_path / "found_here.py").write_text("def app(e, s): ...\nclass inner:\n    web = app\ndef make(): return app\n")
    path = tmp_path / "found_here.py"
    app = load_app(str(path))
    assert load_app(f"{path}:app") is load_app(f"{path}:inner.web") is load_app(f"{path}:make()") is app
    with pytest.raises(CannotLoadJobs, match="missing"):
        load_app(f"{path}:missing")


@pytest.mark.parametrize(
    "url", ["localhost:5000", "ftp://x", "http://", "http://u:p@x", "http://x/?q=1", "http://x/#a"]
)
def test_an_upstream_that_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(WrongSetting):
        check_upstream(url)


def test_workers_find_the_application_wherever_they_work_and_see_what_it_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = settings_for(Settings(workers=0, slow=("/report",)), app="shop.py:app")
    plan = msgspec.json.decode(made.jobs[made.jobs.index("{") :], type=Plan)
    assert plan.app == f"{tmp_path}/shop.py:app" and plan.jobs == {"request": 1}, (
        "the same jobs with workers or without"
    )
    assert [slow.glob for slow in plan.slow] == ["/report"]
    assert made.child_env == ("*",)
    own = Settings(child_env=("SHOP_*",), sources={"child_env": "--child-env"})
    assert settings_for(own, app="shop:app").child_env == ("SHOP_*",), "whoever says which, has said it"
