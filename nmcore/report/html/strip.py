"""The network as a strip: its layers side by side, before and after."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from nmcore.report.html import charts
from nmcore.report.html.axes import LEFT, RIGHT, WIDTH, Axis, label
from nmcore.report.html.components import folded, legend, section, table
from nmcore.report.html.markup import Html, join, tag, text
from nmcore.report.layers import LayerReport
from nmcore.utils.text import counted, milliseconds, number

# The height of a row of bars, and of what its name takes above it.
_BARS, _NAME, _BOTTOM = 58, 22, 18
# Of more layers than this names on hovering would only swell the page.
_NAMED = 300
# Tables of more layers are folded away in any case; so many are written at most.
_MOST_ROWS = 400


@dataclass(frozen=True)
class _Row:
    """What of a layer one row of the strip shows."""

    name: str
    before: Callable[[LayerReport], float | None]
    after: Callable[[LayerReport], float | None]
    write: Callable[[float], str]


_ROWS = (
    _Row("channels", lambda x: x.width_before, lambda x: x.width_after, lambda v: f"{v:,.0f}"),
    _Row("MACs", lambda x: x.macs_before, lambda x: x.macs_after, lambda v: f"{v:,.0f}"),
    _Row("time", lambda x: x.ms_before, lambda x: x.ms_after, lambda v: milliseconds(v)),
)


def strip(layers: Sequence[LayerReport]) -> Html | None:
    """The section of the page; None where nothing is known of any layer."""
    rows = [row for row in _ROWS if any(row.before(layer) for layer in layers)]
    if not rows:
        return None
    what = {"channels": "its channels", "MACs": "its multiply-accumulates", "time": "its time"}
    seen = ", ".join(what[row.name] for row in rows)
    timed = any(row.name == "time" for row in rows)
    note = (
        " The time is that of a run by the runtime's own profile, with what follows a layer up to "
        "the next ones."
        if timed
        else ""
    )
    return section(
        "Layer by layer",
        tag(
            "figure",
            _picture(layers, rows),
            tag(
                "figcaption",
                legend(
                    join([charts.swatch(class_=kind), name])
                    for kind, name in (("left-out", "before"), ("kept", "after"))
                ),
                f"A bar is one of {counted(len(layers), 'layer')} with weights, in the order of "
                f"the network: {seen}.{note} A layer may make the channels of several groups, or "
                "some that stay, so it can have more of them than a group.",
            ),
        ),
        folded("The layers as a table", tag("div", _table(layers, timed=timed), class_="wide")),
    )


def _picture(layers: Sequence[LayerReport], rows: Sequence[_Row]) -> Html:
    x = Axis(0, len(layers), LEFT, WIDTH - RIGHT)
    height = len(rows) * (_BARS + _NAME) + _BOTTOM
    bottoms = [(place + 1) * (_BARS + _NAME) for place in range(len(rows))]
    drawn = [
        part
        for row, bottom in zip(rows, bottoms, strict=True)
        for part in _bars(layers, row, x, bottom)
    ]
    last = [label(x.end, bottoms[-1] + 13, str(len(layers)), anchor="end")]
    return tag(
        "svg",
        *drawn,
        label(x.start, bottoms[-1] + 13, "1"),
        *(last if len(layers) > 1 else []),
        label((x.start + x.end) / 2, bottoms[-1] + 13, "layer", anchor="middle"),
        *(_hints(layers, x, bottoms[-1]) if len(layers) <= _NAMED else ()),
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
        aria_label=f"Layers: {', '.join(row.name for row in rows)} before and after",
        class_="chart",
    )


def _bars(layers: Sequence[LayerReport], row: _Row, x: Axis, bottom: float) -> Iterator[Html]:
    most = max(max(row.before(each) or 0.0, row.after(each) or 0.0) for each in layers)
    y = Axis(0, most, bottom, bottom - _BARS)
    gap = 0.12 if len(layers) <= charts.MANY else 0.0
    yield label(x.start, bottom - _BARS - 6, f"{row.name}, up to {row.write(most)}")
    yield tag("line", x1=x.start, x2=x.end, y1=bottom, y2=bottom, class_="grid")
    for kind, get in (("left-out", row.before), ("kept", row.after)):
        boxes = [
            _box(x(place + gap), bottom, x(place + 1 - gap), y(value))
            for place, value in enumerate(map(get, layers))
            if value
        ]
        yield tag("path", d="".join(boxes), class_=kind)


def _box(left: float, bottom: float, right: float, top: float) -> str:
    return f"M{left:g} {bottom:g}H{right:g}V{top:g}H{left:g}z"


def _hints(layers: Sequence[LayerReport], x: Axis, bottom: float) -> Iterator[Html]:
    for place, layer in enumerate(layers):
        words = f"{layer.name} ({layer.op}): {'; '.join(_said(layer))}"
        yield tag(
            "rect",
            tag("title", words),
            x=x(place),
            y=0,
            width=round(x(place + 1) - x(place), 2),
            height=bottom,
            class_="hint",
        )


def _said(layer: LayerReport) -> Iterator[str]:
    for row in _ROWS:
        before, after = row.before(layer), row.after(layer)
        if before is not None and after is not None:
            yield f"{row.name} {row.write(before)} to {row.write(after)}"


def _table(layers: Sequence[LayerReport], *, timed: bool) -> Html:
    headers = ["layer", "<operator", "channels", "after", "MACs", "after"]
    headers += ["time", "after"] if timed else []
    return table(headers, [_cells(layer, timed=timed) for layer in layers[:_MOST_ROWS]])


def _cells(layer: LayerReport, *, timed: bool) -> list[str]:
    counts = (layer.width_before, layer.width_after, layer.macs_before, layer.macs_after)
    times = map(milliseconds, (layer.ms_before, layer.ms_after)) if timed else ()
    return [text(layer.name), text(layer.op), *map(number, counts), *times]
