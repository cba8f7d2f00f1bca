"""Whether a contender found the most similar rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nmcore.bench.contenders import is_ours
from nmcore.bench.problems import Problem
from nmcore.group import FloatArray, IntArray

# float32 rounding of unit rows of a few thousand entries, generously; a wrong row is far worse.
FLOAT32_ERROR = 1e-4
FLOAT64_ERROR = 1e-12


class WrongAnswerError(Exception):
    """A contender returned a wrong answer: its time means nothing."""


def best_cosines(problem: Problem) -> NDArray[np.float64]:
    """Return the greatest float64 cosine of every removed row, by plain products in blocks."""
    kept = _unit(problem.weight[problem.kept])
    best = np.empty(len(problem.removed))
    for start in range(0, len(best), 512):
        part = slice(start, start + 512)
        best[part] = (_unit(problem.weight[problem.removed[part]]) @ kept.T).max(axis=1)
    return best


def _unit(rows: FloatArray) -> NDArray[np.float64]:
    wide = rows.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    return wide


def check_answer(
    name: str,
    weight: FloatArray,
    kept: IntArray,
    removed: IntArray,
    found: IntArray,
    best: NDArray[np.float64],
) -> None:
    """Raise unless every removed row's choice has the greatest cosine.

    Peers may miss it by what float32 rounding does; nmcore's own kernels may not.

    Parameters
    ----------
    name : str
        Who answered.
    weight, kept, removed : arrays, shapes (N, D), (P,), (R,)
        What was asked.
    found : int array, shape (R,)
        Positions in `kept`.
    best : float64 array, shape (at least R,)
        The greatest cosines.

    Raises
    ------
    WrongAnswerError
        It names the first wrong row.

    Examples
    --------
    >>> weight = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.1]])
    >>> best = np.array([1.0])
    >>> check_answer("liar", weight, np.array([0, 1]), np.array([2]), np.array([1]), best)
    Traceback (most recent call last):
    nmcore.bench.answers.WrongAnswerError: liar: channel 2 was matched with kept position 1, ...
    """
    if found.shape != removed.shape or found.min() < 0 or found.max() >= len(kept):
        raise WrongAnswerError(f"{name}: returned no kept position for every removed channel")
    allowed = FLOAT64_ERROR if is_ours(name) else FLOAT32_ERROR
    for start in range(0, len(removed), 512):
        part = slice(start, start + 512)
        a, b = _unit(weight[removed[part]]), _unit(weight[kept[found[part]]])
        cosine = np.einsum("kd,kd->k", a, b)
        (wrong,) = np.nonzero(cosine < best[part][: len(cosine)] - allowed)
        if len(wrong):
            at = start + wrong[0]
            raise WrongAnswerError(
                f"{name}: channel {removed[at]} was matched with kept position {found[at]}, cosine "
                f"{cosine[wrong[0]]:.6g}, where {best[at]:.6g} is to be had"
            )
