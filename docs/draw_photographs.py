"""Draw docs/images/photographs.jpg: the photographs that pictures are cut out of without data.

python docs/draw_photographs.py [FILE]
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from nmcore.calibration.photographs import names_of_photographs

COLUMNS, WIDTH, HEIGHT, LINE, GAP = 9, 120, 90, 14, 4


def main() -> None:
    """Write the picture."""
    target = Path(__file__).parent / "images/photographs.jpg"
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else target
    sheet().save(path, quality=80, optimize=True)


def sheet() -> Image.Image:
    """All photographs in rows, each above its name."""
    names = names_of_photographs()
    rows = -(-len(names) // COLUMNS)
    found = Image.new("RGB", (COLUMNS * (WIDTH + GAP), rows * (HEIGHT + LINE + GAP)), "white")
    draw = ImageDraw.Draw(found)
    for number, name in enumerate(names):
        row, column = divmod(number, COLUMNS)
        left, top = column * (WIDTH + GAP), row * (HEIGHT + LINE + GAP)
        with (files("nmcore.calibration") / "photos" / name).open("rb") as file:
            photograph = Image.open(file).convert("RGB")
        found.paste(ImageOps.fit(photograph, (WIDTH, HEIGHT)), (left, top))
        draw.text((left, top + HEIGHT + 1), name.removesuffix(".jpg"), fill="black")
    return found


if __name__ == "__main__":
    main()
