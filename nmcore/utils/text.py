"""Numbers, sizes and shapes as text."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence


def printable(text: str) -> str:
    r"""Escape what would break a line or steer a terminal; names come from files of strangers.

    >>> printable("conv\n1 \x1b[31m é")
    'conv\\n1 \\x1b[31m é'
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def shortened(name: str, width: int) -> str:
    """Leave the middle of a name out, where it is longer than ``width``.

    >>> shortened("/encoder/layer.0/attention/query/MatMul", 24), shortened("conv1", 24)
    ('/encoder/la…query/MatMul', 'conv1')
    """
    if len(name) <= width:
        return name
    front = max(width - 1, 2) // 2
    return f"{name[:front]}…{name[len(name) - max(width - 1 - front, 1) :]}"


def common_folder(names: Sequence[str]) -> str:
    """What all names begin with, up to a slash; empty where there are less than two.

    >>> common_folder(["/encoder/layer.0/query", "/encoder/layer.1/query"])
    '/encoder/'
    """
    if len(names) < 2:
        return ""
    start = os.path.commonprefix(list(names))  # noqa: RUF071
    return start[: start.rfind("/") + 1]


def without_folder(name: str, folder: str) -> str:
    """A name without what others begin with as well.

    >>> without_folder("/encoder/layer.0/query", "/encoder/"), without_folder("conv1", "")
    ('…layer.0/query', 'conv1')
    """
    return f"…{name.removeprefix(folder)}" if folder else name


def number(value: int | None) -> str:
    """Write a count with separators, ``?`` where it is unknown.

    >>> number(266610), number(None)
    ('266,610', '?')
    """
    return "?" if value is None else f"{value:,}"


def counted(count: int, thing: str) -> str:
    """Write a number of things.

    >>> counted(1, "group"), counted(1200, "group")
    ('1 group', '1,200 groups')
    """
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def size(count: int) -> str:
    """Write a file size in the unit that suits it.

    >>> size(999), size(1067805), size(20_894_612)
    ('999 B', '1.07 MB', '20.9 MB')
    """
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 999.5:
            return f"{count} B" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:,.3g} GB"


def milliseconds(value: float | None) -> str:
    """Write a time with three digits.

    >>> milliseconds(0.05123), milliseconds(12.345), milliseconds(None)
    ('0.0512 ms', '12.3 ms', '?')
    """
    if value is None:
        return "?"
    return f"{value:.0f} ms" if value >= 1000 else f"{value:.3g} ms"


def percent(value: float | None) -> str:
    """Write a percentage with two digits, ``-`` where there is none.

    >>> percent(87.018), percent(None)
    ('87.02', '-')
    """
    return "-" if value is None else f"{value:.2f}"


def error_text(value: float | None) -> str:
    """Write a relative error with three decimals, ``-`` where there is none.

    >>> error_text(0.01234), error_text(0.00001), error_text(None)
    ('0.012', '<0.001', '-')
    """
    if value is None:
        return "-"
    return "<0.001" if 0 < value < 0.0005 else f"{value:.3f}"


def change(before: float | None, after: float | None) -> str:
    """Write by how much something shrank or grew.

    >>> change(200, 150), change(200, 250), change(3, 3), change(None, 3)
    ('-25.0 %', '+25.0 %', '=', '')
    """
    if before is None or after is None or not before:
        return ""
    return "=" if before == after else f"{100 * (after / before - 1):+.1f} %"


def shape_text(shape: Sequence[int | None]) -> str:
    """Write a shape as users do, with ``n`` for the batch and ``?`` for other dynamic axes.

    >>> shape_text((None, 3, None)), shape_text((10,))
    ('(n, 3, ?)', '(10,)')
    """
    words = [
        str(size) if size is not None else ("n" if axis == 0 else "?")
        for axis, size in enumerate(shape)
    ]
    return f"({', '.join(words)}{',' if len(words) == 1 else ''})"


def sizes_text(shape: Sequence[int]) -> str:
    """Write the sizes of an input as the command line takes them.

    >>> sizes_text((1, 3, 640, 640))
    '1x3x640x640'
    """
    return "x".join(map(str, shape))


def stated_text(shapes: Mapping[str, Sequence[int]]) -> str:
    """Write the shapes of inputs as the command line takes them.

    >>> stated_text({"input": (1, 512), "state": (2, 1, 128)})
    'input=1x512 and state=2x1x128'
    """
    return " and ".join(f"{name}={sizes_text(shape)}" for name, shape in shapes.items())


def wanted_sizes(guessed: Mapping[str, Sequence[int]]) -> str:
    """Ask for the sizes of inputs that were guessed; empty where there are none.

    >>> wanted_sizes({"input": (1, 32)})
    'give the sizes that it runs at (--input-shape; input=1x32 was tried)'
    """
    if not guessed:
        return ""
    return f"give the sizes that it runs at (--input-shape; {stated_text(guessed)} was tried)"
