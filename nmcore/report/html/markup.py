"""HTML and SVG as strings in which nothing is unescaped by accident.

Names come from models of strangers. Plain text becomes markup in one place, :func:`tag`, which
escapes it; only what this module made itself passes as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from nmcore.utils.text import printable

# Elements that have no end tag.
_VOID = frozenset({"meta", "br", "img"})


class Html(str):
    """Markup, in contrast to text that has yet to be escaped."""

    __slots__ = ()


def text(words: str) -> Html:
    """Escape text, and what is invisible in it: some characters reorder the line they stand in.

    >>> text('<img src=x onerror="alert(1)">')
    '&lt;img src=x onerror=&quot;alert(1)&quot;&gt;'
    """
    return Html(escape(printable(words)))


def join(parts: Iterable[str]) -> Html:
    """Put markup and text side by side."""
    return Html("".join(part if isinstance(part, Html) else text(part) for part in parts))


def tag(element: str, /, *content: str, **attributes: str | float | bool | None) -> Html:
    """Write an element.

    Parameters
    ----------
    element : str
        Its name, never from a model.
    *content : str
        Text, which is escaped, or :class:`Html`, which is not.
    **attributes : str, number or bool
        Their values are escaped. ``class_`` is written ``class``, ``aria_label`` is ``aria-label``;
        None and False leave an attribute out, True writes its name alone.

    Examples
    --------
    >>> tag("td", "a < b", tag("br"), class_="number", colspan=2, hidden=None)
    '<td class="number" colspan="2">a &lt; b<br></td>'
    """
    words = [
        element,
        *(_attribute(key, value) for key, value in attributes.items() if _said(value)),
    ]
    start = f"<{' '.join(words)}>"
    return Html(start if element in _VOID else f"{start}{join(content)}</{element}>")


def _said(value: str | float | bool | None) -> bool:
    return value is not None and value is not False


def _attribute(key: str, value: str | float | bool | None) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return name
    return f'{name}="{text(f"{value:.5g}" if isinstance(value, float) else str(value))}"'
