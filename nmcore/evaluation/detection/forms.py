"""The forms that outputs of detectors have, told from names, shapes and numbers.

Each is a function that takes the outputs of the original for some inputs, and returns what turns
outputs of that form into boxes, or None where these do not have it. What it finds out, as how many
of the numbers are scores of classes, holds for the compressed model too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nmcore.evaluation.detection.anchored import faceboxes, retinaface, scrfd
from nmcore.evaluation.detection.head import Decoder, Head
from nmcore.evaluation.detection.listed import corners, detr, end_to_end, ssd
from nmcore.evaluation.detection.yolo import yolov5, yolov8, yolox

# By the names that an option gives them, in the order in which they are tried.
FORMS: dict[str, Callable[[Head], Decoder | None]] = {
    "ssd": ssd,
    "scrfd": scrfd,
    "retinaface": retinaface,
    "faceboxes": faceboxes,
    "corners": corners,
    "yolov8": yolov8,
    "yolov5": yolov5,
    "yolox": yolox,
    "detr": detr,
    "end-to-end": end_to_end,
}

# Those that list what is found, as many as there are; the outputs of others have one shape.
LISTS = ("ssd", "end-to-end")


def forms_of(head: Head) -> Iterator[tuple[str, Decoder]]:
    """The forms that outputs have as far as names, shapes and numbers tell, the likeliest first."""
    if not any(output is not None and output.size for output in head.outputs):
        return
    for name, form in FORMS.items():
        decoder = form(head)
        if decoder is not None:
            yield name, decoder
