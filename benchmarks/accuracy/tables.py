"""Results as Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from store import Result


@dataclass(frozen=True)
class Table:
    """Rows of text under headers."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""

    def markdown(self) -> str:
        """Write it as Markdown: text on the left, numbers on the right."""
        columns = list(zip(self.headers, *self.rows, strict=True))
        widths = [max(map(len, column)) for column in columns]
        numeric = [all(map(_is_number, column[1:])) for column in columns]
        rule = [f"{'-' * (w - 1)}:" if n else "-" * w for w, n in zip(widths, numeric, strict=True)]
        lines = []
        for row in (self.headers, rule, *self.rows):
            cells = (
                cell.rjust(w) if n else cell.ljust(w)
                for cell, w, n in zip(row, widths, numeric, strict=True)
            )
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines)


def _is_number(cell: str) -> bool:
    return cell.strip(" -+%?").replace(",", "").replace(".", "").isdigit() or cell in ("", "-")


def percent(result: Result | None, name: str = "top1") -> str:
    """Write top-1, or another share; nothing where it was not measured."""
    return "" if result is None or result.get(name) is None else f"{result[name]:.2f}"


def gain(before: Result | None, after: Result | None) -> str:
    """Write how much top-1 rises; nothing where either was not measured."""
    if before is None or after is None:
        return ""
    return f"{after['top1'] - before['top1']:+.2f}"


def number(result: Result | None, name: str) -> str:
    """Write a count; nothing where it was not measured or is not known."""
    return "" if result is None or result.get(name) is None else f"{result[name]:,}"


def size(result: Result | None) -> list[str]:
    """Write parameters and MACs."""
    return [number(result, "params"), number(result, "macs")]


def millions(count: int, decimals: int) -> str:
    """Write a count as the paper does, cut off and not rounded.

    Its 85M for VGG-16 with half of the last convolution are 85,797,416.

    >>> millions(85_797_416, 0), millions(1_092_010, 1)
    ('85M', '1.0M')
    """
    unit = 10 ** (6 - decimals)
    return f"{count // unit / 10**decimals:.{decimals}f}M"
