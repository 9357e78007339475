"""Text recognition: the lines of print in a photograph or scan, with their places."""

import logging
from dataclasses import dataclass
from typing import Annotated, Any

from gallery import decoded, on_white, open_image  # gallery.py, beside this file
from pydantic import Field

from offload import File, job

SIDE_PIXELS_MAX = 2500  # a page of paper at 200 dots an inch; more takes time and finds no more


@dataclass
class Line:
    """One line of print, how sure the network is of it, and where it begins in pixels."""

    text: str
    score: float
    left: int
    top: int


@job(queue="vision", timeout=120, memory="4GiB")
class Ocr:
    """Read the print in a photograph or a scan, Latin or Chinese letters, line by line from the top."""

    def __init__(self) -> None:
        from rapidocr import RapidOCR  # its networks come with it

        logging.getLogger("RapidOCR").setLevel(logging.WARNING)
        threads = {"EngineConfig.onnxruntime.intra_op_num_threads": 1, "Global.log_level": "warning"}
        self.reader = RapidOCR(params=threads)

    def __call__(self, image: File, threshold: Annotated[float, Field(ge=0, le=1)] = 0.5) -> list[Line]:
        import numpy

        with open_image(image) as picture:
            page = on_white(decoded(picture, image.name, at_least=(SIDE_PIXELS_MAX, SIDE_PIXELS_MAX)))
        whole = page.width
        page.thumbnail((SIDE_PIXELS_MAX, SIDE_PIXELS_MAX))
        read: Any = self.reader(numpy.asarray(page)[:, :, ::-1])  # it expects blue first
        if read.boxes is None:
            return []
        scale = whole / page.width
        lines = [
            Line(text=text, score=round(float(score), 2), left=round(box[0][0] * scale), top=round(box[0][1] * scale))
            for box, text, score in zip(read.boxes.tolist(), read.txts, read.scores, strict=True)
        ]
        return [line for line in lines if line.score >= threshold]
