"""Padding: which input of a model says where inputs end, found by what the model makes of it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from nmcore.data.batches import Feeds
from nmcore.group import Array
from nmcore.plugins.protocols import Session

# Outputs that differ by less than this share of their size are the same but for rounding.
_SAME = 1e-4


def padding_mask(session: Session, batches: Iterable[Feeds]) -> str | None:
    """Return the input whose zeros mark padding, or None.

    It holds zeros and ones, one a position, shape (batch, positions), and what other inputs hold at
    its zeros changes nothing elsewhere: they are exchanged there for what they hold at its ones,
    and the outputs at its ones, or those of no positions, stay as they were. So neither a mask of
    which zeros mark what counts is taken for one, nor an input that tells kinds of tokens apart.

    Parameters
    ----------
    session : Session
        The model.
    batches : iterable of mapping of input name to array
        What it is fed with. The first batch with padding decides.

    Raises
    ------
    ModelError
        The model does not run on them.
    """
    for feeds in batches:
        candidates = [name for name, array in feeds.items() if _may_be_mask(array)]
        for name in candidates:
            if _hides(session, feeds, name):
                return name
        if candidates:
            return None
    return None


def padded_away(output: Array, mask: NDArray[np.bool_]) -> Array:
    """What an output holds at the positions (batch, positions) that count, as rows (n, ...).

    An output without such positions is returned as it is.

    Examples
    --------
    >>> padded_away(np.arange(6).reshape(1, 3, 2), np.array([[True, False, True]]))
    array([[0, 1],
           [4, 5]])
    """
    return output[mask] if output.shape[:2] == mask.shape else output


def _may_be_mask(array: Array) -> bool:
    if array.ndim != 2 or array.dtype.kind not in "iubf":
        return False
    return bool(((array == 0) | (array == 1)).all() and (array == 0).any() and (array == 1).any())


def _hides(session: Session, feeds: Feeds, name: str) -> bool:
    """Whether nothing changes with what other inputs hold where one of them is zero."""
    counts = feeds[name] != 0
    others = {
        other: array
        for other, array in feeds.items()
        if array.shape[:2] == counts.shape and array.dtype.kind in "iuf" and np.ptp(array) > 1
    }
    if not others:
        return False
    rng = np.random.default_rng(0)
    changed = dict(feeds)
    for other, array in others.items():
        real = array[counts]
        changed[other] = array.copy()
        changed[other][~counts] = real[rng.integers(len(real), size=int((~counts).sum()))]
    before, after = session.run(feeds), session.run(changed)
    return all(
        _alike(padded_away(one, counts), padded_away(other, counts))
        for one, other in zip(before, after, strict=True)
    )


def _alike(one: Array, other: Array) -> bool:
    if one.dtype.kind != "f" or one.shape != other.shape:
        return one.shape == other.shape and bool((one == other).all())
    return bool(np.abs(one - other).max(initial=0) <= _SAME * np.abs(one).max(initial=0))
