"""Draw docs/images/synthetic-inputs.png: pictures that networks are shown without data.

    python docs/draw_synthetic_inputs.py [FILE]

Needs Pillow, which ``pip install '.[images]'`` brings.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from nmcore.calibration.dead_leaves import dead_leaves

ROWS, COLUMNS, SIZE, GAP, ZOOM = 4, 10, 32, 2, 2


def main() -> None:
    """Write the picture."""
    target = Path(__file__).parent / "images/synthetic-inputs.png"
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else target
    Image.fromarray(sheet()).save(path, optimize=True)


def sheet() -> np.ndarray:
    """A grid of pictures on grey, uint8, shape (height, width, 3)."""
    pictures = dead_leaves(ROWS * COLUMNS, 3, (SIZE, SIZE))
    pixels = (255 * pictures).astype(np.uint8).transpose(0, 2, 3, 1)
    pixels = pixels.repeat(ZOOM, axis=1).repeat(ZOOM, axis=2)
    pixels = np.pad(pixels, [(0, 0), (GAP, GAP), (GAP, GAP), (0, 0)], constant_values=128)
    rows = pixels.reshape(ROWS, COLUMNS, *pixels.shape[1:])
    return np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)


if __name__ == "__main__":
    main()
