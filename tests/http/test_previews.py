"""Pages of PDF files as pictures: who may see them, and what is said when there is none."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from offload.core.errors import TryAgain
from offload.ports.previews import NoPreview, Preview
from tests.http.key_kit import ask, bearer, key_of
from tests.http.kit import Server, gate_of, serving
from tests.http.sockets import listening

PNG = b"\x89PNG picture"


class Drawer:
    """Tells what it was asked for; its page 9 cannot be drawn, its page 8 not at the moment."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    async def page(self, chunks: AsyncIterator[bytes], *, size: int, number: int) -> Preview:
        data = b"".join([chunk async for chunk in chunks])
        assert len(data) == size
        self.asked.append((size, number))
        if number == 9:
            raise NoPreview("it is protected by a password")
        if number == 8:
            raise TryAgain("too many", retry_seconds=3)
        return Preview(png=PNG, pages=12)


async def copied(server: Server, kind: str = "application/pdf", token: str = "") -> str:
    """Return the path of a task whose input and result are such a file."""
    headers = {"content-type": kind, "prefer": "wait=30", **(bearer(token) if token else {})}
    answer = await server.client.post("/v1/jobs/copy", content=b"%PDF", headers=headers)
    assert answer.status_code == 200, answer.text
    return str(answer.headers["location"])


async def test_results_and_inputs_are_shown_page_by_page_and_asked_for_again_cheaply(tmp_path: Path) -> None:
    drawer = Drawer()
    async with serving(tmp_path, previews=drawer) as server:
        here = await copied(server)
        for place in (f"{here}/result/preview", f"{here}/input/image/preview"):
            shown = await server.client.get(place, params={"page": 2})
            assert (shown.status_code, shown.content, shown.headers["content-type"]) == (200, PNG, "image/png")
            assert shown.headers["offload-pages"] == "12"
            assert "sandbox" in shown.headers["content-security-policy"]
            assert shown.headers["cache-control"] == "private, no-cache"
            known = {"if-none-match": shown.headers["etag"]}
            assert (await server.client.get(place, params={"page": 2}, headers=known)).status_code == 304
            assert (await server.client.get(place, headers=known)).status_code == 200, "another page"
        assert drawer.asked == [(4, 2), (4, 1)] * 2


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("page=9", 422, "NoPreview"),
        ("page=8", 503, "TryAgain"),
        ("page=0", 400, "WrongValue"),
        ("page=-1", 400, "WrongValue"),
        ("page=1e3", 400, "WrongValue"),
        ("page=9999999", 400, "WrongValue"),
        ("pages=1", 400, "WrongValue"),
    ],
)
async def test_what_cannot_be_shown_says_why(tmp_path: Path, query: str, status: int, code: str) -> None:
    async with serving(tmp_path, previews=Drawer()) as server:
        refused = await server.client.get(f"{await copied(server)}/result/preview?{query}")
        assert (refused.status_code, refused.json()["code"]) == (status, code)
        assert (refused.headers.get("retry-after") == "3") == (status == 503)


async def test_a_page_that_nobody_waits_for_any_more_is_not_drawn_to_its_end(tmp_path: Path) -> None:
    class Slow(Drawer):
        began, left = asyncio.Event(), asyncio.Event()

        async def page(self, chunks: AsyncIterator[bytes], *, size: int, number: int) -> Preview:
            self.began.set()
            try:
                return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]
            finally:
                self.left.set()

    async with listening(tmp_path, previews=Slow()) as it:
        here = await copied(it.server)
        _, writer = await asyncio.open_connection("127.0.0.1", it.port)
        writer.write(f"GET {here}/result/preview HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        async with asyncio.timeout(20):
            await Slow.began.wait()
            writer.close()
            await Slow.left.wait()


async def test_only_pdf_files_have_pages_and_only_where_they_are_kept(tmp_path: Path) -> None:
    async with serving(tmp_path, previews=Drawer()) as server:
        picture = await copied(server, "image/png")
        refused = await server.client.get(f"{picture}/result/preview")
        assert (refused.status_code, refused.json()["code"]) == (422, "NoPreview")
        assert "image/png" in refused.json()["detail"]
        wait = {"prefer": "wait=30"}
        json = (await server.client.post("/v1/jobs/ping", headers=wait)).headers["location"]
        assert (await server.client.get(f"{json}/result/preview")).json()["code"] == "NoPreview"
        running = (await server.submit("hold", {"gate": "preview"}))["links"]["result"]
        assert (await server.client.get(f"{running}/preview")).json()["code"] == "TaskIsNotFinal"
        gate_of("preview").set()
        failed = (await server.client.post("/v1/jobs/fail", json={"message": "x"}, headers=wait)).headers["location"]
        assert (await server.client.get(f"{failed}/result/preview")).json()["code"] == "TaskFailed"
        here = await copied(server)
        assert (await server.client.get(f"{here}/input/other/preview")).status_code == 404
        await server.client.delete(here)
        for place in ("result", "input/image"):
            assert (await server.client.get(f"{here}/{place}/preview")).status_code == 410


async def test_without_what_draws_them_the_answer_says_what_to_install(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        refused = await server.client.get(f"{await copied(server)}/result/preview")
        assert (refused.status_code, refused.json()["code"]) == (422, "NotAvailable")
        assert 'pip install "offload[pdf]"' in refused.json()["detail"]


async def test_nobody_sees_pages_of_others(tmp_path: Path) -> None:
    async with serving(tmp_path, previews=Drawer()) as server:
        anna, bert = await key_of(server, "anna"), await key_of(server, "bert")
        here = await copied(server, token=anna)
        for place in (f"{here}/result/preview", f"{here}/input/image/preview"):
            assert (await ask(server, anna, "GET", place)).status_code == 200
            assert (await ask(server, bert, "GET", place)).status_code == 404
            assert (await server.client.get(place)).status_code == 401
