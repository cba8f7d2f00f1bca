"""The inputs whose outputs changed most, with what both models give for them."""

from __future__ import annotations

from collections.abc import Iterator

from nmcore.evaluation.examples import Example
from nmcore.evaluation.fidelity import Fidelity
from nmcore.report.html.components import section
from nmcore.report.html.deviations import percent_text
from nmcore.report.html.markup import Html, tag
from nmcore.utils.text import counted

# Longer texts are cut.
_LONGEST = 160


def worst(found: Fidelity | None) -> Html | None:
    """The section of the page; None where no example is known."""
    if found is None or not found.examples:
        return None
    kind = "synthetic input" if found.synthetic else "input"
    return section(
        "Inputs whose outputs changed most",
        tag("ul", *(_card(each) for each in found.examples), class_="examples"),
        tag(
            "p",
            f"The worst of {counted(found.n, kind)} that were compared, numbered from 0: first by "
            "what the outputs are for, such as boxes or top classes, where that is known, and then "
            "by the deviation of the outputs.",
            class_="muted",
        ),
    )


def _card(example: Example) -> Html:
    picture = Html()
    if example.picture is not None:
        picture = tag("img", src=example.picture, alt=f"Input {example.place}")
    return tag("li", picture, tag("div", *_lines(example)))


def _lines(example: Example) -> Iterator[Html]:
    name = f"Input {example.place:,}"
    deviation = "" if example.deviation is None else f": {percent_text(example.deviation)} off"
    yield tag("span", f"{name}{deviation}", class_="name")
    if example.given:
        yield tag("span", _cut(example.given), class_="detail")
    for who, words in (("original", example.before), ("result", example.after)):
        if words:
            yield tag("span", tag("b", who), f" {_cut(words)}", class_="detail")


def _cut(words: str) -> str:
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}..."
