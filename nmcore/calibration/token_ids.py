"""Integers that a model may take: places in the tables that its graph looks them up in."""

from __future__ import annotations

from typing import Any

import numpy as np

from nmcore.group import Array
from nmcore.plugins.inputs import InputHint, InputSpec

# Where nothing tells how long the tables are; nearly all have these rows.
SMALL_IDS = 8
# Tables of at most so many rows are of segments: all of one kind for most inputs, else the kinds
# one after the other.
SEGMENTS, OF_ONE_KIND = 4, 0.75


def takes_ids(dtype: np.dtype[Any]) -> bool:
    """Whether numbers of a type are places in tables, as far as anybody can tell."""
    return dtype.kind in "ui" and dtype != np.uint8


def token_ids(
    rng: np.random.Generator, shape: tuple[int, ...], spec: InputSpec, hint: InputHint
) -> Array:
    """Random integers for an input of a model.

    Parameters
    ----------
    rng : Generator
        What is random.
    shape : tuple of int
        Of the integers; the last axis is that of a text.
    spec : InputSpec
        The input. One whose name has `mask` in it is all ones; one with `position` counts up.
    hint : InputHint
        How many rows the table has; without it, eight. Numbers of steps are all as large as can be.

    Returns
    -------
    integer array of that shape
        Places in the whole table, each as likely.

    Examples
    --------
    >>> spec = InputSpec("ids", (None, 5), np.dtype(np.int64))
    >>> found = token_ids(np.random.default_rng(0), (1000, 5), spec, InputHint(ids=30_000))
    >>> found.shape, bool(found.min() < 100), bool(found.max() > 29_900)
    ((1000, 5), True, True)
    """
    name = spec.name.lower()
    if hint.mask or "mask" in name:
        return np.ones(shape, spec.dtype)
    if hint.steps is not None:
        return np.full(shape, hint.steps, spec.dtype)
    rows = min(hint.ids or SMALL_IDS, int(np.iinfo(spec.dtype).max))
    if "position" in name and shape:
        return np.broadcast_to(np.arange(shape[-1]) % rows, shape).astype(spec.dtype)
    return rng.integers(0, rows, shape).astype(spec.dtype)


def in_segments(rng: np.random.Generator, ids: Array, hint: InputHint) -> Array:
    """Ids of a table of few rows, which tells segments apart, as texts have them: ascending.

    >>> ids = in_segments(np.random.default_rng(0), np.array([[1, 0, 1]] * 3), InputHint(ids=2))
    >>> ids.tolist()
    [[0, 0, 0], [0, 0, 0], [0, 0, 0]]
    """
    if hint.mask or hint.ids is None or hint.ids > SEGMENTS or ids.ndim < 2:
        return ids
    several = rng.random((*ids.shape[:-1], 1)) >= OF_ONE_KIND
    found: Array = np.sort(ids) * several.astype(ids.dtype)
    return found
