"""Which output gives what an input takes in the next step, as far as their names tell."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher


def paired(states: Sequence[str], outputs: Sequence[str]) -> list[str] | None:
    """The output that gives what each state is next; None where there is no telling.

    Names tell where each state is more like one output than any other state is, and more like it
    than like any other output, apart from what all names have in common at their ends. Otherwise
    both are in the same order, where there are as many.

    Parameters
    ----------
    states, outputs : sequence of str
        Names of inputs, and of outputs that could be any of them next.

    Examples
    --------
    >>> paired(["h0", "c0"], ["y", "cn", "hn"])
    ['hn', 'cn']
    >>> paired(["in_state_1", "in_state_2"], ["out_state_2", "out_state_1"])
    ['out_state_1', 'out_state_2']
    >>> paired(["input_3", "input_4"], ["Identity_1", "Identity_2"])
    ['Identity_1', 'Identity_2']
    >>> paired(["input_3"], ["Identity_1", "Identity_2"]) is None
    True
    """
    ours, theirs = _apart(states), _apart(outputs)
    likeness = [[SequenceMatcher(None, one, other).ratio() for other in theirs] for one in ours]
    found = []
    for number, row in enumerate(likeness):
        best = max(range(len(row)), key=row.__getitem__)
        rivals = [*row[:best], *row[best + 1 :]]
        rivals += [each[best] for k, each in enumerate(likeness) if k != number]
        if row[best] <= max(rivals, default=-1.0):
            return list(outputs) if len(outputs) == len(states) else None
        found.append(outputs[best])
    return found


def _apart(names: Sequence[str]) -> list[str]:
    """Names without what they all begin and end with."""
    if len(names) < 2:
        return list(names)
    first = _common(names)
    cut = [name[first:] for name in names]
    last = _common([name[::-1] for name in cut])
    return [name[: len(name) - last] for name in cut]


def _common(names: Sequence[str]) -> int:
    """How many characters all names begin with alike."""
    return next(
        (k for k, each in enumerate(zip(*names, strict=False)) if len(set(each)) > 1),
        min(map(len, names)),
    )
