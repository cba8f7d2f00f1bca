"""What sections are made of: headings, tables, legends, parts that are folded away."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nmcore.report.html.markup import Html, tag


def section(title: str, *content: str) -> Html:
    """A part of the page under a heading."""
    return tag("section", tag("h2", title), *content)


def pair(*sections: Html | None) -> Html:
    """Sections side by side where there is room."""
    return tag("div", *(section for section in sections if section is not None), class_="pair")


def folded(title: str, content: Html) -> Html:
    """What few readers look for: it opens at a click, without a script."""
    return tag("details", tag("summary", title), content)


def legend(items: Iterable[Html]) -> Html:
    """What the colours of a picture mean."""
    return tag("ul", *(tag("li", item) for item in items), class_="legend")


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], class_: str | None = None) -> Html:
    """A table whose first column names its rows; the others are numbers, or text after ``<``."""
    looks = ["figure" if n and not h.startswith("<") else None for n, h in enumerate(headers)]
    names = (h.removeprefix("<") for h in headers)
    head = (
        tag("th", name, scope="col", class_=look) for name, look in zip(names, looks, strict=True)
    )
    return tag(
        "table",
        tag("thead", tag("tr", *head)),
        tag("tbody", *(_row(row, looks) for row in rows)),
        class_=class_,
    )


def _row(row: Sequence[str], looks: Sequence[str | None]) -> Html:
    first, *rest = row
    cells = (tag("td", cell, class_=look) for cell, look in zip(rest, looks[1:], strict=True))
    return tag("tr", tag("th", first, scope="row"), *cells)
