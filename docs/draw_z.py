"""Draw what Z does, for light pages and for dark ones: ``python docs/draw_z.py`` writes z*.svg."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

CELL = 34
BLUE, ORANGE, GREEN = "#3b82d6", "#dd7a2b", "#2f9e6e"
# One colour a kept channel; a removed one bears the colour of the channel it is merged into.
COLOURS = (BLUE, ORANGE, ORANGE, GREEN, GREEN)
KEPT = (0, 1, 3)
REMOVED = {2: (1, "0.5"), 4: (3, "2")}
ROWS = (
    ("0.7", "-0.2", "0.1", "0.9"),
    ("0.4", "0.8", "-0.6", "0.2"),
    ("0.2", "0.4", "-0.3", "0.1"),
    ("-0.5", "0.3", "0.2", "0.4"),
    ("-1.0", "0.6", "0.4", "0.8"),
)
WHY = (
    "ReLU(0.5 y) = 0.5 ReLU(y), so channel 2 is",
    "half of channel 1 for every input. What the",
    "next layer read from 2, it now reads from 1.",
)


@dataclass
class Drawing:
    """SVG elements for one colour scheme."""

    text_colour: str
    muted: str
    parts: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, words: str, **style: str | float) -> None:
        """Write words; centred unless told otherwise."""
        look: dict[str, str | float] = {"fill": self.text_colour, "font-size": 14}
        look |= {"text-anchor": "middle"} | {k.replace("_", "-"): v for k, v in style.items()}
        attributes = " ".join(f'{name}="{value}"' for name, value in look.items())
        self.parts.append(f'<text x="{x}" y="{y}" {attributes}>{words}</text>')

    def title(self, x: float, y: float, words: str, rest: str) -> None:
        """Write a bold name, and what it is below it."""
        self.text(x, y, words, font_size=16, font_weight="bold")
        self.text(x, y + 19, rest, fill=self.muted, font_size=13)

    def cell(self, x: float, y: float, colour: str, words: str = "", *, gone: bool = False) -> None:
        """Draw one number of a matrix; those that go are pale and dashed."""
        look = 'fill-opacity="0.16" stroke-dasharray="3 3"' if gone else 'fill-opacity="0.5"'
        self.parts.append(
            f'<rect x="{x + 1.5}" y="{y + 1.5}" width="{CELL - 3}" height="{CELL - 3}" rx="4" '
            f'fill="{colour}" stroke="{colour}" {look}/>'
        )
        if words:
            self.text(x + CELL / 2, y + CELL / 2 + 4.5, words, font_size=12.5)

    def arrow(self, path: str, colour: str) -> None:
        """Draw a curved line that ends in an arrow head of the same colour."""
        self.parts.append(
            f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2" '
            f'marker-end="url(#{colour[1:]})"/>'
        )

    def svg(self, width: int, height: int) -> str:
        """The whole file."""
        colours = (BLUE, ORANGE, GREEN, self.muted)
        heads = "".join(
            f'<marker id="{c[1:]}" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="6" '
            f'markerHeight="6" orient="auto"><path d="M0 0L8 4L0 8z" fill="{c}"/></marker>'
            for c in colours
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" font-family="Segoe UI, Helvetica, Arial, '
            f'DejaVu Sans, sans-serif"><title>How Z folds removed channels into kept ones and '
            f"into the next layer</title><defs>{heads}</defs>\n"
            + "\n".join(self.parts)
            + "\n</svg>\n"
        )


def layer(pen: Drawing, x: float, y: float, channels: Sequence[int]) -> None:
    """Draw W: one row a channel."""
    for place, channel in enumerate(channels):
        for column, number in enumerate(ROWS[channel]):
            pen.cell(
                x + column * CELL,
                y + place * CELL,
                COLOURS[channel],
                number,
                gone=channel in REMOVED and len(channels) == len(ROWS),
            )
        pen.text(x - 12, y + place * CELL + 22, str(channel), fill=pen.muted, font_size=13)


def scaling(pen: Drawing, x: float, y: float) -> None:
    """Draw Z: one row a kept channel, one column a channel."""
    for column in range(len(ROWS)):
        source, factor = REMOVED.get(column, (column, "1"))
        for row, kept in enumerate(KEPT):
            if kept == source:
                pen.cell(x + column * CELL, y + row * CELL, COLOURS[column], factor)
            else:
                pen.text(x + (column + 0.5) * CELL, y + (row + 0.65) * CELL, "0", fill=pen.muted)
        pen.text(x + (column + 0.5) * CELL, y - 7, str(column), fill=pen.muted, font_size=13)
    for row, kept in enumerate(KEPT):
        pen.text(x - 12, y + row * CELL + 22, str(kept), fill=pen.muted, font_size=13)


def next_layer(pen: Drawing, x: float, y: float) -> None:
    """Draw V, whose columns read the channels, and where the removed ones go."""
    for column in range(len(ROWS)):
        for row in range(3):
            gone = column in REMOVED
            pen.cell(x + column * CELL, y + row * CELL, COLOURS[column], gone=gone)
        pen.text(x + (column + 0.5) * CELL, y - 7, str(column), fill=pen.muted, font_size=13)
    bottom = y + 3 * CELL + 4
    for column, (target, factor) in REMOVED.items():
        start, end = x + (column + 0.5) * CELL, x + (target + 0.5) * CELL
        pen.arrow(
            f"M{start} {bottom}C{start} {bottom + 30} {end} {bottom + 30} {end} {bottom}",
            COLOURS[column],
        )
        pen.text((start + end) / 2, bottom + 40, f"&#215; {factor}", font_size=13)


def folded_layer(pen: Drawing, x: float, y: float) -> None:
    """Draw the next layer after it absorbed Z."""
    for place, channel in enumerate(KEPT):
        for row in range(3):
            pen.cell(x + place * CELL, y + row * CELL, COLOURS[channel])
        pen.text(x + (place + 0.5) * CELL, y - 7, str(channel), fill=pen.muted, font_size=13)
    for place, words in enumerate(("v1 becomes v1 + 0.5 v2", "v3 becomes v3 + 2 v4")):
        pen.text(x + 1.5 * CELL, y + 3 * CELL + 24 + 20 * place, words, font_size=13)


def draw(text_colour: str, muted: str) -> str:
    """The picture: before on the left, Z in the middle, after on the right."""
    pen = Drawing(text_colour, muted)
    pen.title(118, 24, "W", "the layer: a row a channel")
    layer(pen, 50, 62, range(len(ROWS)))
    pen.text(193, 62 + 2 * CELL + 22, "= 0.5 &#215; row 1", text_anchor="start", font_size=13)
    pen.text(193, 62 + 4 * CELL + 22, "= 2 &#215; row 3", text_anchor="start", font_size=13)

    pen.title(445, 24, "Z", "how kept channels rebuild all")
    scaling(pen, 360, 80)
    pen.title(445, 224, "V", "the next layer: a column a channel")
    next_layer(pen, 360, 276)

    pen.title(715, 24, "W', smaller", "the rows that are kept")
    layer(pen, 647, 80, KEPT)
    pen.title(715, 224, "V' = V Z&#7488;", "reads 3 channels, gives the same")
    folded_layer(pen, 664, 276)

    for row, words in enumerate(WHY):
        pen.text(38, 306 + 21 * row, words, text_anchor="start", font_size=13, fill=muted)

    pen.arrow("M302 131L328 131", muted)
    pen.arrow("M556 131L610 131", muted)
    pen.arrow("M556 327L640 327", muted)
    return pen.svg(860, 430)


def main() -> None:
    """Write both pictures beside this file."""
    folder = Path(__file__).parent
    (folder / "z-light.svg").write_text(draw("#1f2328", "#59636e"))
    (folder / "z-dark.svg").write_text(draw("#e6edf3", "#9198a1"))


if __name__ == "__main__":
    main()
