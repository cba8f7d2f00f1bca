"""A plot's frame: where a number lies, the lines and labels along both axes.

Charts are drawn at the width of a phone, 360 units, so that their text is legible there; on wider
screens they grow only a little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from nmcore.report.html.markup import Html, join, tag

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 50, 10, 12, 38


@dataclass(frozen=True)
class Axis:
    """Numbers laid along a line.

    Attributes
    ----------
    low, high : float
        The numbers at both ends.
    start, end : float
        Where these lie, in units of the picture.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a number lies; those beyond an end lie there.

        >>> Axis(0, 10, start=100, end=0)(2.5), Axis(0, 10, start=100, end=0)(12)
        (75.0, 0.0)
        """
        span = (self.high - self.low) or 1.0
        share = min(max((value - self.low) / span, 0.0), 1.0)
        return round(self.start + share * (self.end - self.start), 2)


def across(low: float, high: float) -> Axis:
    """The axis from left to right."""
    return Axis(low, high, LEFT, WIDTH - RIGHT)


def upwards(low: float, high: float) -> Axis:
    """The axis from the bottom to the top."""
    return Axis(low, high, HEIGHT - BOTTOM, TOP)


def frame(
    x: Axis,
    y: Axis,
    x_ticks: Sequence[tuple[float, str]],
    y_ticks: Sequence[tuple[float, str]],
    *,
    x_name: str,
) -> Html:
    """Draw grid lines with their labels, and what the axis at the bottom is about."""
    rows = (
        join(
            [
                tag("line", x1=x.start, x2=x.end, y1=y(at), y2=y(at), class_="grid"),
                label(x.start - 6, y(at) + 3.5, words, anchor="end"),
            ]
        )
        for at, words in y_ticks
    )
    columns = (label(x(at), y.start + 14, words, anchor=_anchor(x, x(at))) for at, words in x_ticks)
    name = label((x.start + x.end) / 2, HEIGHT - 6, x_name, anchor="middle")
    return join([*rows, *columns, name])


def label(x: float, y: float, words: str, *, anchor: str = "start") -> Html:
    """Write a few words."""
    return tag("text", words, x=x, y=y, text_anchor=anchor)


def round_ticks(high: float, most: int = 4) -> list[int]:
    """Round numbers from 0 up to ``high``.

    >>> round_ticks(100), round_ticks(64), round_ticks(3)
    ([0, 50, 100], [0, 20, 40, 60], [0, 1, 2, 3])
    """
    steps = (digit * 10**zeros for zeros in count() for digit in (1, 2, 5))
    step = next(step for step in steps if high <= most * step)
    return [step * n for n in range(int(high / step) + 1)]


def _anchor(x: Axis, place: float) -> str:
    """Labels at the right end must not be cut off."""
    return "end" if place > x.end - 8 else "middle"
