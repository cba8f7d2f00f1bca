"""What each step of several made of a model, and what it lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nmcore.evaluation.fidelity import Fidelity
from nmcore.evaluation.metrics.figures import in_words
from nmcore.utils.text import milliseconds, size


@dataclass(frozen=True)
class Step:
    """A model after one step.

    Attributes
    ----------
    name : str
        ``compress``, or what the weights became.
    bytes : int
        The size of its file.
    latency_ms : float or None
        Median of warm runs; None where it was not timed.
    fidelity : Fidelity or None
        How it compares with the original; None where it was not compared.
    """

    name: str
    bytes: int
    latency_ms: float | None = None
    fidelity: Fidelity | None = None


def steps_text(steps: Sequence[Step]) -> Iterator[str]:
    """Yield what each step lost by itself, and the size and time after it, a line each.

    >>> list(steps_text([Step("compress", 226_000, 0.0455), Step("int8", 64_500)]))
    ['after compress: 226 kB, 0.0455 ms', 'after int8: 64.5 kB']
    """
    before: Fidelity | None = None
    for step in steps:
        costs = size(step.bytes)
        if step.latency_ms is not None:
            costs += f", {milliseconds(step.latency_ms)}"
        lost = "" if step.fidelity is None else _lost(step.fidelity, before)
        yield f"after {step.name}: {lost}{'; ' if lost else ''}{costs}"
        before = step.fidelity


def _lost(found: Fidelity, before: Fidelity | None) -> str:
    """By how much the task's figure fell, from the original's or from that after the step before;
    or the figures, where they measure no loss.
    """
    loss, known = found.loss, None if before is None else before.loss
    if loss is None:
        return ", ".join(in_words(found.metrics))
    if known is None or known.metric != loss.metric:
        return str(loss)
    points = round(loss.points - known.points, 6)
    if not round(points, 2):
        return f"{loss.what} as before, on the same"
    way = "lower" if points > 0 else "higher"
    return f"{loss.what} {abs(points):.2f} points {way} than before, on the same"
