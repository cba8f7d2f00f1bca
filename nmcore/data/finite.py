"""Whether numbers can be computed with."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nmcore.errors import DataError
from nmcore.group import Array

# So many numbers are looked through at a time.
_CHUNK = 2**22


def check_finite(name: str, what: str, array: Array) -> None:
    """Raise where an array holds NaN or infinity: one such number would spoil every figure.

    It may be one of objects, whose inputs have different shapes.

    Raises
    ------
    DataError
        It does; the message says how many, and where the first is.

    Examples
    --------
    >>> check_finite("d.npz", "x", np.array([[0.0, 1.0], [np.nan, np.inf]]))
    Traceback (most recent call last):
    nmcore.errors.DataError: d.npz: x holds NaN or infinity: 2 numbers, in 1 of 2 inputs, ...
    """
    if array.dtype.kind not in "fO":
        return
    broken = np.concatenate([*_broken(array)]) if len(array) else np.zeros(0, np.intp)
    (rows,) = np.nonzero(broken)
    if rows.size:
        count = int(broken.sum())
        raise DataError(
            f"{name}: {what} holds NaN or infinity: {count:,} number{'s' if count > 1 else ''}, "
            f"in {rows.size:,} of {len(array):,} inputs, the first of which is number {rows[0]} "
            "(from 0); mend or leave them out"
        )


def _broken(array: Array) -> Iterator[NDArray[np.intp]]:
    """How many numbers of each input are none, a chunk at a time."""
    if array.dtype == object:
        rows = [row if row.dtype.kind == "f" else np.zeros(0) for row in map(np.asarray, array)]
        yield np.array([np.count_nonzero(~np.isfinite(row)) for row in rows], np.intp)
        return
    step = max(1, _CHUNK * len(array) // max(1, array.size))
    for start in range(0, len(array), step):
        part = array[start : start + step]
        yield np.count_nonzero(~np.isfinite(part.reshape(len(part), -1)), axis=1)
