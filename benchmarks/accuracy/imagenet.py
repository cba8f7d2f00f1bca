"""Pictures in a folder, read in batches, and what a model makes of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from store import Result, digest
from trials import cost

from nmcore.plugins import registry

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".jpg", ".jpeg", ".png")
SHORTER, SIDE = 256, 224
# Torchvision's, for pixels between 0 and 1.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PREPARATION = (
    *("--scale", "255", "--mean", *map(str, MEAN)),
    *("--std", *map(str, STD)),
)
BATCH = 32

Floats = NDArray[np.float32]
Classes = NDArray[np.int64]


@dataclass(frozen=True)
class Pictures:
    """A folder of pictures, subfolders too, and their classes where they are known.

    Attributes
    ----------
    labels : Path or None
        JSON of one object, from the name of a file to its class, or lines of a name and a class,
        as ``ILSVRC2012_val_00000001.JPEG 65``. Classes count from 0.
    limit : int or None
        Use so many, evenly spread.
    """

    folder: Path
    labels: Path | None = None
    limit: int | None = None

    @cached_property
    def paths(self) -> list[Path]:
        """The pictures that are used, by name; with labels, those that have one."""
        found = sorted(each for each in self.folder.rglob("*") if each.suffix.lower() in SUFFIXES)
        found = [each for each in found if not self.classes or each.name in self.classes]
        if not found:
            sys.exit(f"{self.folder} holds no pictures{' with a label' if self.labels else ''}")
        count = min(self.limit or len(found), len(found))
        return [found[k] for k in np.linspace(0, len(found) - 1, count).round().astype(int)]

    @cached_property
    def classes(self) -> Mapping[str, int]:
        """The class of each file name; empty without labels."""
        return {} if self.labels is None else read_labels(self.labels)

    @cached_property
    def truth(self) -> Classes:
        """The classes of the pictures."""
        return np.array([self.classes[path.name] for path in self.paths], np.int64)

    def batches(self) -> Iterator[Floats]:
        """Yield normalised pictures (n, 3, 224, 224)."""
        for start in range(0, len(self.paths), BATCH):
            yield np.stack([read(path) for path in self.paths[start : start + BATCH]])


def read_labels(path: Path) -> dict[str, int]:
    """Read the classes of pictures; see :class:`Pictures`."""
    text = path.read_text(encoding="utf-8")
    try:
        if text.lstrip().startswith("{"):
            return {name: int(label) for name, label in json.loads(text).items()}
        pairs = (line.split() for line in text.splitlines() if line.strip())
        return {Path(name).name: int(label) for name, label in pairs}
    except ValueError:
        sys.exit(f"{path}: expected JSON of file names and classes, or lines of a name and a class")


def read(path: Path) -> Floats:
    """Read a picture: shorter side 256, centre 224, unless it has that size already."""
    from PIL import Image

    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    if picture.size != (SIDE, SIDE):
        picture = _centre(picture)
    pixels = np.asarray(picture, np.float32) / 255
    normal = (pixels - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return np.ascontiguousarray(normal.transpose(2, 0, 1))


def _centre(picture: Image) -> Image:
    scale = SHORTER / min(picture.size)
    width, height = (round(scale * side) for side in picture.size)
    left, top = (width - SIDE) // 2, (height - SIDE) // 2
    from PIL import Image

    resized = picture.resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + SIDE, top + SIDE))


@dataclass(frozen=True)
class PictureJudge:
    """Top-1 and top-5 where pictures have classes, and agreement with the original's top class."""

    original: Path
    pictures: Pictures

    def key(self) -> dict[str, Any]:
        """Return the digests of the pictures, their classes and the original."""
        labels = self.pictures.labels
        return {
            "pictures_sha256": digest(self.pictures.folder),
            "limit": self.pictures.limit,
            "labels_sha256": None if labels is None else digest(labels),
            "original_sha256": digest(self.original),
        }

    @cached_property
    def reference(self) -> Classes:
        """What the original says."""
        return top_five(self.original, self.pictures)

    def evaluate(self, model: Path) -> Result:
        """Compare a file with the original and the truth."""
        same_file = model == self.original
        found = self.reference if same_file else top_five(model, self.pictures)
        result = {"n": len(found), "agreement": _percent(found[:, 0] == self.reference[:, 0])}
        if self.pictures.classes:
            right = found == self.pictures.truth[:, None]
            result |= {"top1": _percent(right[:, 0]), "top5": _percent(right.any(1))}
        return result | cost(model)


def top_five(model: Path, pictures: Pictures) -> Classes:
    """Return the five best classes of every picture (n, 5), the best first."""
    session = registry.runtime().session(model, providers=("auto",))
    (feed,) = session.inputs
    scores = (session.run({feed.name: x})[0] for x in pictures.batches())
    return np.concatenate([np.argsort(-each, axis=1, kind="stable")[:, :5] for each in scores])


def _percent(hits: NDArray[np.bool_]) -> float:
    return 100 * float(hits.mean())
