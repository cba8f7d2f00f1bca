"""Render lines of random text as pictures, to calibrate and to judge text recognisers.

Every picture has its own text, font size, colours, slant and noise; its name ends in the text.

Examples
--------
Two folders of other texts, the first to measure on and the second to judge by:

    python examples/text_images/render.py calibration --count 320
    python examples/text_images/render.py others --count 300 --seed 1
    nmcore compress recogniser.onnx small.onnx --macs 0.8 --data calibration --preprocess paddle
    nmcore evaluate recogniser.onnx small.onnx --data others --preprocess paddle --metric ctc
"""

from __future__ import annotations

import argparse
import string
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

ALPHABET = string.ascii_uppercase + string.digits


def main() -> None:
    """Write the pictures into a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=320, help="how many pictures")
    parser.add_argument("--seed", type=int, default=0, help="for all that is random")
    parser.add_argument("--alphabet", default=ALPHABET, help="what texts consist of")
    parser.add_argument("--lengths", type=int, nargs=2, default=(5, 9), metavar=("MIN", "MAX"))
    parser.add_argument("--fonts", nargs="*", default=(), help="font files; else Pillow's own")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(options.seed)
    for number in range(options.count):
        length = rng.integers(options.lengths[0], options.lengths[1] + 1)
        text = "".join(rng.choice(list(options.alphabet), length))
        picture = rendered(text, rng, options.fonts)
        picture.save(options.folder / f"{number:04}-{text}.png")


def rendered(text: str, rng: np.random.Generator, fonts: list[str]) -> Image.Image:
    """A text as a picture, shape (about 1.5 times the font's size, as wide as the text)."""
    size = int(rng.integers(28, 57))
    name = rng.choice(fonts) if fonts else None
    font = ImageFont.load_default(size) if name is None else ImageFont.truetype(name, size)
    left, top, right, bottom = font.getbbox(text)
    margin = rng.integers(size // 8, size // 3, 2)
    width, height = int(right - left + 2 * margin[0]), int(bottom - top + 2 * margin[1])
    paper, ink = _colours(rng)
    picture = Image.new("RGB", (width, height), paper)
    corner = (int(margin[0] - left), int(margin[1] - top))
    ImageDraw.Draw(picture).text(corner, text, ink, font)
    slant = rng.uniform(-0.15, 0.15)
    matrix = (1, slant, -slant * height / 2, 0, 1, 0)
    picture = picture.transform(
        picture.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=paper
    )
    picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0, size / 40)))
    noise = rng.normal(0, rng.uniform(0, 12), (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))


def _colours(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two colours that can be told apart, the paper's and the ink's."""
    while True:
        paper, ink = rng.integers(0, 256, (2, 3))
        if abs(float(paper.mean()) - float(ink.mean())) > 80:
            return tuple(map(int, paper)), tuple(map(int, ink))


if __name__ == "__main__":
    main()
