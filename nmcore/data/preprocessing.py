"""What models are fed with, by name or from a file: numbers, and how pictures are resized."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from nmcore.data.normalisation import Normalisation
from nmcore.data.picture_form import USUAL, PictureForm
from nmcore.errors import ArgumentError

# Usual ways to prepare pixels from 0 to 255, by the names of :func:`nmcore.compress`.
# Where the numbers are from:
#   imagenet   torchvision, the transforms of its ImageNet weights
#   clip       OpenAI's CLIP, clip.py
#   unit       pixels from 0 to 1
#   minus-one  Keras, imagenet_utils.preprocess_input, mode "tf"; Inception and MobileNet
#   yolo       ultralytics, LetterBox in data/augment.py, whose padding is 114
#   paddle     PaddleOCR, resize_norm_img in ppocr/data/imaug/rec_img_aug.py: pictures that OpenCV
#              read, BGR, padded by 0 after (x / 255 - 0.5) / 0.5, which is 127.5 before
#   caffe      Keras, imagenet_utils.preprocess_input, mode "caffe"; the means of VGG's authors
PREPROCESSING: Mapping[str, Normalisation] = {
    "imagenet": Normalisation(255.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": Normalisation(
        255.0, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    ),
    "unit": Normalisation(255.0),
    "minus-one": Normalisation(127.5, (1.0,)),
    "yolo": Normalisation(255.0, form=PictureForm(resize="letterbox", pad=114)),
    "paddle": Normalisation(
        255.0, (0.5,), (0.5,), form=PictureForm("bgr", resize="height", pad=127.5)
    ),
    "caffe": Normalisation(1.0, (103.939, 116.779, 123.68), form=PictureForm("bgr")),
}
NUMBERS = ("scale", "mean", "std")
FORM = tuple(field.name for field in fields(PictureForm))


def spelt_out(preprocess: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """What a preprocessing says, by the names of a file: those of ``NUMBERS`` and ``FORM``.

    Parameters
    ----------
    preprocess : str, path or mapping
        A name of :data:`PREPROCESSING`, a JSON file, or what such a file holds.

    Raises
    ------
    ArgumentError
        It is no such name, the file cannot be read, or holds something else.

    Examples
    --------
    >>> spelt_out("yolo")
    {'scale': 255.0, 'mean': (0.0,), 'std': (1.0,), 'resize': 'letterbox', 'pad': 114}
    >>> spelt_out({"size": 224})
    Traceback (most recent call last):
    nmcore.errors.ArgumentError: preprocess: 'size' is not known; scale, ... resize, pad are
    """
    if isinstance(preprocess, Mapping):
        return _checked(preprocess)
    name = str(preprocess)
    if name in PREPROCESSING:
        steps = PREPROCESSING[name]
        numbers = {each: getattr(steps, each) for each in NUMBERS}
        return numbers | changed(steps.form)
    if Path(name).suffix.lower() != ".json":
        raise ArgumentError(
            f"preprocess is {name!r}; one of {', '.join(PREPROCESSING)}, or a file whose name ends "
            "in .json, is needed"
        )
    return _checked(_read(Path(name)))


def changed(form: PictureForm) -> dict[str, Any]:
    """What of a form is not the usual, by name."""
    usual = asdict(USUAL)
    return {name: value for name, value in asdict(form).items() if value != usual[name]}


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ArgumentError(f"preprocess {path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"preprocess {path} is no JSON: {error}") from None
    if not isinstance(found, Mapping):
        raise ArgumentError(f'preprocess {path} holds no object, as in {{"scale": 255}}')
    return found


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    for name in given:
        if name not in (*NUMBERS, *FORM):
            raise ArgumentError(
                f"preprocess: {name!r} is not known; {', '.join((*NUMBERS, *FORM))} are"
            )
    numbers = {name: value for name, value in given.items() if name in NUMBERS}
    if not _is_number(numbers.get("scale", 1)):
        raise ArgumentError(f"preprocess: scale is {numbers['scale']!r}; a number is needed")
    for name in ("mean", "std"):
        values = numbers.get(name, 0)
        one_each = isinstance(values, (list, tuple)) and values and all(map(_is_number, values))
        if not (_is_number(values) or one_each):
            raise ArgumentError(
                f"preprocess: {name} is {values!r}; a number, or a list of one a channel, is needed"
            )
    form = PictureForm(**{name: value for name, value in given.items() if name in FORM})
    return numbers | changed(form)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
