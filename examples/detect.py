"""Object detection: what is in a photograph and where, as a table or drawn onto the photograph."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any

from gallery import decoded, is_turned, on_white, open_image  # gallery.py, beside this file
from pydantic import Field

from offload import File, job

# ONNX Runtime and the model are loaded in the workers only: the server reads this file too, and stays small.
if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

SIDE = 512  # the network sees a square of this many pixels …
CELLS = 128  # … as so many cells
OVERLAP_MAX = 0.45
DRAWN_PIXELS_MAX = 1600
COLORS = ("#d7263d", "#1b998b", "#2e5eaa", "#f46036", "#7b2d8b", "#4f772d", "#b5838d", "#006d77")
LABELS = (
    "person bicycle car motorcycle airplane bus train truck boat traffic_light fire_hydrant stop_sign parking_meter "
    "bench bird cat dog horse sheep cow elephant bear zebra giraffe backpack umbrella handbag tie suitcase frisbee "
    "skis snowboard sports_ball kite baseball_bat baseball_glove skateboard surfboard tennis_racket bottle wine_glass "
    "cup fork knife spoon bowl banana apple sandwich orange broccoli carrot hot_dog pizza donut cake chair couch "
    "potted_plant bed dining_table toilet tv laptop mouse remote keyboard cell_phone microwave oven toaster sink "
    "refrigerator book clock vase scissors teddy_bear hair_drier toothbrush"
).split()

Threshold = Annotated[float, Field(ge=0.05, le=1)]


@dataclass
class Found:
    """One thing, how sure the network is of it, and its box in pixels of the upright photograph."""

    label: str
    score: float
    left: int
    top: int
    right: int
    bottom: int


@job(queue="vision", timeout=60, memory="2GiB")
class Detect:
    """Find people, vehicles, animals and everyday things (the 80 classes of COCO) in a photograph."""

    def __init__(self) -> None:
        self.network = network()

    def __call__(self, image: File, threshold: Threshold = 0.3) -> list[Found]:
        with open_image(image) as picture:
            size = picture.size[::-1] if is_turned(picture, image.name) else picture.size
            seen = on_white(decoded(picture, image.name, at_least=(SIDE, SIDE)))
        return found_in(seen, size, threshold, self.network)


@job(queue="vision", timeout=60, memory="2GiB")
class DetectPicture:
    """Find things in a photograph, and return it with a named box around each."""

    def __init__(self) -> None:
        self.network = network()

    def __call__(self, image: File, threshold: Threshold = 0.3) -> File:
        with open_image(image) as picture:
            shown = on_white(decoded(picture, image.name, at_least=(DRAWN_PIXELS_MAX, DRAWN_PIXELS_MAX)))
        shown.thumbnail((DRAWN_PIXELS_MAX, DRAWN_PIXELS_MAX))
        draw(shown, found_in(shown, shown.size, threshold, self.network))
        return File.save(shown, format="jpeg", name=f"{PurePath(image.name).stem}-found.jpg", quality=90)


@functools.cache
def network() -> Any:
    """Load the network, once for all jobs of a worker; raise CannotHaveModel when it is not here and cannot come."""
    import onnxruntime
    from models.centernet import fetched

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the workers share the cores
    return onnxruntime.InferenceSession(fetched(), options, providers=["CPUExecutionProvider"])


def found_in(picture: "Image", size: tuple[int, int], threshold: float, network: Any) -> list[Found]:
    """Return what the network sees in a picture, the surest first, in pixels of a picture of `size`."""
    import numpy
    from PIL.Image import Resampling

    square = numpy.asarray(picture.resize((SIDE, SIDE), Resampling.BILINEAR), numpy.float32)
    scores, sides = (each[0] for each in network.run(["scores", "sides"], {"tower_0/images": square[None]}))
    wide, high = size
    kept: list[tuple[int, NDArray[Any]]] = []
    found = []
    for y, x, label in peaks(scores, threshold):
        center = numpy.array([x, y, x, y]) * (SIDE / CELLS)
        box = numpy.clip((center + sides[y, x] * [-1, -1, 1, 1]) / SIDE, 0, 1)
        if any(label == other and overlap(box, taken) > OVERLAP_MAX for other, taken in kept):
            continue
        kept.append((label, box))
        left, top, right, bottom = (round(float(each)) for each in box * [wide, high, wide, high])
        name = LABELS[label].replace("_", " ")
        score = round(float(scores[y, x, label]), 2)
        found.append(Found(label=name, score=score, left=left, top=top, right=right, bottom=bottom))
    return found


def peaks(scores: "NDArray[Any]", threshold: float) -> Iterator[tuple[int, int, int]]:
    """Yield the places and labels of scores above the threshold that no neighbour surpasses, the highest first."""
    import numpy

    padded = numpy.pad(scores, ((1, 1), (1, 1), (0, 0)), constant_values=-1)
    around = [padded[down : down + CELLS, right : right + CELLS] for down in range(3) for right in range(3)]
    places = numpy.argwhere((scores == numpy.max(around, axis=0)) & (scores > threshold))
    for y, x, label in places[numpy.argsort(-scores[tuple(places.T)])]:
        yield int(y), int(x), int(label)


def overlap(one: "NDArray[Any]", other: "NDArray[Any]") -> float:
    """Return the area that two boxes share as a part of the area that they cover."""
    import numpy

    shared = float(
        numpy.prod(numpy.clip(numpy.minimum(one[2:], other[2:]) - numpy.maximum(one[:2], other[:2]), 0, None))
    )
    covered = float(numpy.prod(one[2:] - one[:2]) + numpy.prod(other[2:] - other[:2])) - shared
    return shared / covered if covered else 0.0


def draw(picture: "Image", found: list[Found]) -> None:
    """Draw a box and a name for each thing, and no name over another."""
    from PIL import ImageDraw, ImageFont

    pen = ImageDraw.Draw(picture)
    thickness = max(2, round(max(picture.size) / 250))
    font = ImageFont.load_default(size=max(12, round(max(picture.size) / 40)))
    colors = [COLORS[LABELS.index(each.label.replace(" ", "_")) % len(COLORS)] for each in found]
    for each, color in zip(found, colors, strict=True):
        pen.rectangle((each.left, each.top, each.right, each.bottom), outline=color, width=thickness)
    taken: list[tuple[float, float, float, float]] = []
    for each, color in zip(found, colors, strict=True):
        text = f" {each.label} {each.score:.0%} "
        place = pen.textbbox((each.left, each.top), text, font=font)
        height = place[3] - each.top + thickness
        down = 0.0
        while any(touch((place[0], place[1] + down, place[2], place[3] + down), other) for other in taken):
            down += height
        taken.append((place[0], place[1] + down, place[2], place[3] + down))
        pen.rectangle((taken[-1][0], taken[-1][1] - thickness, taken[-1][2], taken[-1][3] + thickness), fill=color)
        pen.text((each.left, each.top + down), text, fill="white", font=font)


def touch(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
