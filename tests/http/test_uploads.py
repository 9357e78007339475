"""Files on their way in: forms, raw bodies, data: URLs, stored files, and what hostile clients make of them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from offload.http.config import HttpConfig
from tests.http.kit import Server, serving

BOUNDARY = "xxBOUNDARYxx"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def part(name: str, data: bytes, *more: str, filename: str | None = None) -> bytes:
    named = "" if filename is None else f'; filename="{filename}"'
    lines = [f"--{BOUNDARY}", f'Content-Disposition: form-data; name="{name}"{named}', *more, "", ""]
    return "\r\n".join(lines).encode() + data + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()
WIDTH = part("width", b"5")
CAT = part("image", b"meow", "Content-Type: image/png", filename="cat.png")


async def test_a_form_with_a_file_and_fields_becomes_the_input(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.post(
            "/v1/jobs/copy", files={"image": ("cat.png", b"meow", "image/png")}, data={"width": "320"}
        )
        assert answer.status_code == 202, answer.text
        task = answer.json()
        url = f"/v1/tasks/{task['id']}/input/image"
        assert task["input"] == {"image": {"name": "cat.png", "type": "image/png", "size": 4, "url": url}, "width": 320}
        kept = await server.client.get(url)
        assert (kept.content, kept.headers["content-type"]) == (b"meow", "image/png")
        done = await server.finished(task["id"])
        assert (done["result"], done["result_type"], done["result_size"]) == (None, "image/png", 4)
        assert (await server.client.get(f"/v1/tasks/{task['id']}/result")).content == b"meow"


async def test_a_list_of_files_keeps_its_order(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        several = [("images", (f"{n}.png", b"x" * n, "image/png")) for n in (3, 1, 2)]
        task = (await server.client.post("/v1/jobs/count", files=several, data={"title": "t"})).json()
        assert [file["size"] for file in task["input"]["images"]] == [3, 1, 2]
        assert task["input"]["images"][1]["url"].endswith("/input/images.1")
        result = (await server.finished(task["id"]))["result"]
        assert result == {"title": "t", "sizes": [3, 1, 2], "names": ["3.png", "1.png", "2.png"]}
        one = await server.client.post("/v1/jobs/count", files={"images": ("a.png", b"1", "image/png")})
        assert one.status_code == 202, "a single file is a list of one"


async def test_a_raw_body_is_the_one_file_and_the_query_the_rest(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        for headers, name, kind in (
            ({"content-type": "image/jpeg"}, "image.jpg", "image/jpeg"),
            ({"content-type": "application/x-www-form-urlencoded"}, "image", "application/octet-stream"),
            ({}, "image", "application/octet-stream"),
            ({"content-disposition": 'attachment; filename="a dog.png"'}, "a dog.png", "image/png"),
            ({"content-disposition": "attachment; filename*=UTF-8''h%C3%BCnd%20..%2F2.png"}, "2.png", "image/png"),
            (
                {"content-disposition": "attachment; filename=x.gif; filename*=utf-8'de'h%C3%BCnd.png"},
                "hünd.png",
                "image/png",
            ),
        ):
            answer = await server.client.post("/v1/jobs/copy?width=7", content=b"woof", headers=headers)
            assert answer.status_code == 202, answer.text
            found = answer.json()["input"]
            assert (found["image"]["name"], found["image"]["type"], found["width"]) == (name, kind, 7)


@pytest.mark.parametrize("query", ["width=wide", "nosuch=1", "image=x", "width=1&width=2"])
async def test_a_wrong_query_is_refused_before_the_raw_body_is_stored(tmp_path: Path, query: str) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.post(f"/v1/jobs/copy?{query}", content=b"woof")
        assert (answer.status_code, answer.json()["code"]) == (422, "WrongInput"), answer.text
        _nothing_left(server)


@pytest.mark.parametrize("query", ["width=%ff", "&".join(f"a{n}=1" for n in range(300))])
async def test_a_query_that_cannot_be_read_is_400(tmp_path: Path, query: str) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.post(f"/v1/jobs/copy?{query}", content=b"woof")
        assert (answer.status_code, answer.json()["code"]) == (400, "WrongValue")


async def test_a_data_url_is_a_file(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        for url, data in (("data:image/png;base64,bWVvdw==", b"meow"), ("data:image/png,me%20ow", b"me ow")):
            task = await server.submit("copy", {"image": url})
            assert task["input"]["image"]["size"] == len(data) and task["input"]["image"]["type"] == "image/png"
            await server.finished(task["id"])
            assert (await server.client.get(f"/v1/tasks/{task['id']}/result")).content == data


async def test_a_stored_file_can_be_named_and_each_task_has_its_own_copy(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        stored = await server.client.post("/v1/files?name=cat.png", content=b"meow")
        assert stored.status_code == 201
        made = stored.json()
        assert (made["size"], made["type"]) == (4, "image/png")
        assert made["sha256"] == "404cdd7bc109c432f8cc2443b45bcfe95980f5107215c645236e577929ac3e52"
        first = await server.submit("copy", {"image": f"file:{made['id']}"})
        second = await server.submit("copy", {"image": f"file:{made['id']}"})
        assert first["input"]["image"]["name"] == "cat.png"
        await server.finished(first["id"])
        await server.finished(second["id"])
        assert (await server.client.delete(f"/v1/tasks/{first['id']}")).status_code == 200
        assert (await server.client.get(f"/v1/tasks/{second['id']}/input/image")).content == b"meow"


async def test_a_file_can_be_stored_by_a_form(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        stored = await server.client.post("/v1/files", files={"file": ("cat.png", b"meow", "image/png")})
        assert (stored.status_code, stored.json()["type"], stored.json()["size"]) == (201, "image/png", 4)
        for content in (part("a", b"text") + END, CAT + CAT + END, END):
            answer = await server.client.post("/v1/files", content=content, headers=FORM)
            assert (answer.status_code, answer.json()["code"]) == (400, "WrongBody")
        assert len(server.blobs()) == 1


@pytest.mark.parametrize(
    "source", ["file:nosuch", "file:8c0f4c7e-3b1d-4f6a-9e2b-5d7a1c9e0f34", "data:image/png;base64,%", "cat.png", ""]
)
async def test_a_file_that_cannot_be_had_is_wrong_input_at_its_place(tmp_path: Path, source: str) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.post("/v1/jobs/count", json={"images": ["data:,ok", source]})
        assert (answer.status_code, answer.json()["code"]) == (422, "WrongInput"), answer.text
        assert answer.json()["errors"][0]["loc"] == ["images", 1]
        _nothing_left(server)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("/etc/passwd", "passwd"),
        ("..", "image.png"),
        (".", "image.png"),
        ("", "image.png"),
        ("C:\\x\\y.png", "y.png"),
        ("cat\u202egnp.exe", "cat_gnp.exe"),
        ("ü" * 300 + ".png", "ü" * 125 + ".png"),
        ("käse \U0001f9c0.png", "käse \U0001f9c0.png"),
        (".hidden", ".hidden"),
    ],
)
async def test_a_name_is_only_a_name(tmp_path: Path, given: str, name: str) -> None:
    async with serving(tmp_path) as server:
        content = part("image", b"x", "Content-Type: image/png", filename=given) + END
        answer = await server.client.post("/v1/jobs/copy", content=content, headers=FORM)
        assert answer.status_code == 202, answer.text
        shown = answer.json()["input"]["image"]["name"]
        assert shown == name and len(shown.encode()) <= 255
        assert all(given not in blob for blob in server.blobs() if len(given) > 3)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"x" * 100_000, id="a preamble without end"),
        pytest.param(b"hello\r\n" + CAT + END, id="a preamble"),
        pytest.param(CAT, id="no end"),
        pytest.param(CAT[:-10], id="cut in a part"),
        pytest.param(CAT + b"--" + BOUNDARY.encode(), id="cut in the last boundary"),
        pytest.param(CAT.replace(b"\r\n", b"\n") + END, id="bare line feeds"),
        pytest.param(f"--{BOUNDARY}\r\n\r\nx\r\n".encode() + END, id="no header"),
        pytest.param(f"--{BOUNDARY}\r\nContent-Type: a/b\r\n\r\nx\r\n".encode() + END, id="no disposition"),
        pytest.param(
            f"--{BOUNDARY}\r\nContent-Disposition: attachment; name=a\r\n\r\nx\r\n".encode() + END, id="other"
        ),
        pytest.param(f"--{BOUNDARY}\r\nContent-Disposition: form-data\r\n\r\nx\r\n".encode() + END, id="no name"),
        pytest.param(part("", b"x") + END, id="an empty name"),
        pytest.param(part("a\x00b", b"x") + END, id="NUL in a name"),
        pytest.param(part("image", b"x", filename="a\x00b.png") + END, id="NUL in a file name"),
        pytest.param(part("image", b"x", filename="a\x1b[31m.png") + END, id="an escape in a file name"),
        pytest.param(part("width", b"\xff\xfe") + END, id="no UTF-8"),
        pytest.param(part("a", b"x", "X-Big: " + "y" * 9000) + END, id="a large part header"),
        pytest.param(
            part("a", b"x", *[f"X-{n}: {'y' * 3000}" for n in range(4)]) + END, id="a part header of many lines"
        ),
        pytest.param(part("a", b"x", *[f"X-{n}: y" for n in range(20)]) + END, id="many part headers"),
        pytest.param(part("a", b"x", "no colon") + END, id="a header without a colon"),
        pytest.param(b"".join(part(f"a{n}", b"x") for n in range(101)) + END, id="many parts"),
        pytest.param(f"--{BOUNDARY}\r\n".encode() + b"y" * 100_000, id="a header line without end"),
    ],
)
async def test_a_hostile_form_is_400_and_leaves_nothing(tmp_path: Path, content: bytes) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.post("/v1/jobs/copy", content=content, headers=FORM)
        assert (answer.status_code, answer.json()["code"]) == (400, "WrongBody"), answer.text
        _nothing_left(server)


@pytest.mark.parametrize("boundary", ["", "x" * 71, '"a b "', '"ü"'])
async def test_a_wrong_boundary_is_400(tmp_path: Path, boundary: str) -> None:
    async with serving(tmp_path) as server:
        kind = f"multipart/form-data; boundary={boundary}" if boundary else "multipart/form-data"
        answer = await server.client.post(
            "/v1/jobs/copy", content=CAT + END, headers=[(b"content-type", kind.encode())]
        )
        assert (answer.status_code, answer.json()["code"]) == (400, "WrongBody")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(WIDTH + END, id="no file"),
        pytest.param(CAT + CAT + END, id="the file twice"),
        pytest.param(CAT + part("width", b"wide") + END, id="a wrong field"),
        pytest.param(CAT + WIDTH + WIDTH + END, id="a field twice"),
        pytest.param(CAT + part("width", b"7", filename="w.txt") + END, id="a file for a number"),
        pytest.param(CAT + part("nosuch", b"7", filename="w.txt") + END, id="a file for nothing"),
        pytest.param(CAT + part("nosuch", b"7") + END, id="a field for nothing"),
    ],
)
async def test_a_form_that_does_not_fit_is_wrong_input_and_leaves_nothing(tmp_path: Path, content: bytes) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.post("/v1/jobs/copy", content=content, headers=FORM)
        assert (answer.status_code, answer.json()["code"]) == (422, "WrongInput"), answer.text
        _nothing_left(server)


async def test_an_epilogue_and_a_first_line_break_are_no_mistakes(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        for content in (b"\r\n" + CAT + END, CAT + END[:-2], CAT + END + b"goodbye"):
            answer = await server.client.post("/v1/jobs/copy", content=content, headers=FORM)
            assert answer.status_code == 202, answer.text


async def test_uploads_are_bounded(tmp_path: Path) -> None:
    async with serving(tmp_path, config=HttpConfig(upload_bytes_max=1000, json_bytes_max=500)) as server:
        big = part("image", b"x" * 2000, filename="a.png") + END
        several = b"".join(part("images", b"x" * 600, filename="a.png") for _ in range(2)) + END
        whole = await server.client.post("/v1/jobs/count", content=_in_pieces(several), headers=FORM)
        assert (whole.status_code, whole.json()["code"]) == (413, "BodyTooLarge"), "the limit is for all of it"
        text = CAT + part("name", b"x" * 600) + END
        for content, headers in ((big, FORM), (text, FORM), (b"x" * 1001, {"content-type": "image/png"})):
            answer = await server.client.post("/v1/jobs/copy", content=content, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (413, "BodyTooLarge"), answer.text
        assert (await server.client.post("/v1/files", content=b"x" * 1001)).status_code == 413
        _nothing_left(server)


async def test_a_task_has_a_bounded_number_of_files(tmp_path: Path) -> None:
    async with serving(tmp_path, config=HttpConfig(files_per_task_max=3)) as server:
        by_form = b"".join(part("images", b"x", filename="a.png") for _ in range(4)) + END
        answer = await server.client.post("/v1/jobs/count", content=by_form, headers=FORM)
        assert (answer.status_code, answer.json()["code"]) == (400, "WrongBody")
        by_json = await server.client.post("/v1/jobs/count", json={"images": ["data:,x"] * 4})
        assert (by_json.status_code, by_json.json()["code"]) == (422, "WrongInput")
        _nothing_left(server)


async def _in_pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 100):
        yield content[start : start + 100]


def _nothing_left(server: Server) -> None:
    assert server.blobs() == []
    assert not server.memory._rows
