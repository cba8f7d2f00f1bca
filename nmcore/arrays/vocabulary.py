"""Rows of an embedding table: which are kept, and how each other one is made of kept ones.

A row is a neuron whose consumers read it wherever its token is looked up. Merging it is a column of
the scaling matrix Z of Neuron Merging (Kim et al., NeurIPS 2020), with one entry where one kept row
stands for it, with several where a sum of kept rows does.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nmcore.errors import ArgumentError
from nmcore.group import Float64Array, FloatArray, IntArray, RowSums
from nmcore.kernels import get_kernel
from nmcore.kernels.match import Matches, best_matches
from nmcore.kernels.rows import make_rows
from nmcore.kernels.threads import thread_count, workers

# Rows are kept in so many rounds, each by how far they are from those of the rounds before.
ROUNDS = 16
# Kept rows that one removed row is made of, unless told otherwise: so many at most, and no more
# than one for so many numbers in a row, as a term takes two numbers.
_TERMS, _PER_TERM = 8, 32
# A remainder of less than this share of its row is rounding.
_EXACT = 1e-6
# Relative to the mean square: keeps equations of nearly parallel rows solvable.
_RIDGE = 1e-9
# So many rows are looked for at a time, and so many numbers are held when sums are solved for.
_ROWS, _NUMBERS = 8192, 1 << 22


def choose_rows(
    table: FloatArray,
    size: int,
    counts: IntArray | None = None,
    *,
    kernel: str = "auto",
    threads: int | None = None,
) -> IntArray:
    """The rows of a table to keep: those that are looked up, then those that others replace worst.

    Parameters
    ----------
    table : array, shape (V, D)
        A row for each token.
    size : int, from 1 to V
        How many rows to keep.
    counts : int array, shape (V,), optional
        How often each row was looked up. Where more than ``size`` were, the most frequent are kept.
    kernel, threads
        As in :func:`nmcore.scaling_matrix`.

    Returns
    -------
    int array, shape (size,)
        Ascending.

    Notes
    -----
    In each of a few rounds those rows are added whose distance to the nearest multiple of a kept
    row is largest: ``||t|| sqrt(1 - cos^2)``. Each pair of rows is compared once at most.

    Raises
    ------
    nmcore.errors.ArgumentError
        There are fewer rows than are to be kept.

    Examples
    --------
    The third row is looked up; the second is twice the first:

    >>> table = np.array([[1.0, 0, 0], [2.0, 0, 0], [0, 0.1, 0], [0, 0, 3.0]])
    >>> choose_rows(table, 3, np.array([0, 0, 5, 0]))
    array([1, 2, 3])
    """
    if not 1 <= size <= len(table):
        raise ArgumentError(f"{size} rows cannot be kept of a table of {len(table)}")
    seen = np.zeros(len(table), np.intp) if counts is None else counts
    order = np.argsort(-seen, kind="stable")
    kept = order[: min(size, int(np.count_nonzero(seen)))]
    squares = _squares(table)
    cosine = np.zeros(len(table))
    new = kept
    for left in range(ROUNDS, 0, -1):
        rest = np.delete(np.arange(len(table)), kept)
        if len(kept) == size or not len(rest):
            break
        if len(new):
            found = _matches(table, np.sort(new), rest, kernel, threads)
            cosine[rest] = np.maximum(cosine[rest], found.similarity)
        distance = squares[rest] * (1 - np.minimum(cosine[rest], 1) ** 2)
        count = -(-(size - len(kept)) // left)
        new = rest[np.argsort(-distance, kind="stable")[:count]]
        kept = np.concatenate([kept, new])
    return np.sort(kept)


def rebuild_rows(
    table: FloatArray,
    kept: IntArray,
    terms: int | None = None,
    *,
    kernel: str = "auto",
    threads: int | None = None,
) -> RowSums:
    """Make each row that is not kept a sum of a few kept ones.

    Parameters
    ----------
    table : array, shape (V, D)
        A row for each token.
    kept : int array, shape (K,)
        The rows that stay, ascending.
    terms : int, from 1, optional
        How many kept rows a sum has at most; by default 8, or fewer where rows are short. With 1,
        each row is replaced by the nearest multiple of its most similar kept row.
    kernel, threads
        As in :func:`nmcore.scaling_matrix`.

    Returns
    -------
    RowSums

    Notes
    -----
    Orthogonal matching pursuit (Pati, Rezaiifar & Krishnaprasad, 1993): the kept row that is most
    similar to what is left of a row is added to its sum, and all factors are solved for again by
    least squares.

    Examples
    --------
    >>> table = np.array([[1.0, 0, 0], [0, 1.0, 0], [2.0, 3.0, 0]])
    >>> found = rebuild_rows(table, np.array([0, 1]), terms=2)
    >>> found.position[2], found.scale[2]
    (array([1, 0]), array([3., 2.], dtype=float32))
    """
    if terms is None:
        terms = int(np.clip(table.shape[1] // _PER_TERM, 1, _TERMS))
    terms = min(terms, len(kept))
    position = np.zeros((len(table), terms), np.intp)
    scale = np.zeros((len(table), terms), np.float32)
    position[kept, 0], scale[kept, 0] = np.arange(len(kept)), 1
    rest = np.delete(np.arange(len(table)), kept)
    stay = table[kept]
    for rows in _blocks(rest, _ROWS):
        position[rows], scale[rows] = _pursued(table[rows], stay, terms, kernel, threads)
    return RowSums(kept, position, scale)


def row_errors(table: FloatArray, sums: RowSums) -> Float64Array:
    """How far each row is from what stands for it, relative to its length, shape (V,).

    0 where a row is zero.

    Examples
    --------
    >>> table = np.array([[4.0, 3.0], [2.0, 0.0]])
    >>> row_errors(table, rebuild_rows(table, np.array([1])))
    array([0.6, 0. ])
    """
    errors = np.zeros(len(table))
    per_block = max(1, _NUMBERS // (table.shape[1] * sums.position.shape[1]))
    for rows in _blocks(np.arange(len(table)), per_block):
        part = table[rows].astype(np.float64)
        length = np.linalg.norm(part, axis=1)
        off = np.linalg.norm(part - sums.rebuilt(table, rows), axis=1)
        errors[rows] = np.divide(off, length, out=np.zeros(len(rows)), where=length > 0)
    return errors


def _blocks(rows: IntArray, size: int) -> Iterator[IntArray]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _squares(table: FloatArray) -> Float64Array:
    """The squared length of each row."""
    found = np.empty(len(table))
    for rows in _blocks(np.arange(len(table)), max(1, _NUMBERS // table.shape[1])):
        found[rows] = (table[rows].astype(np.float64) ** 2).sum(axis=1)
    return found


def _matches(
    rows: FloatArray, kept: IntArray, removed: IntArray, kernel: str, threads: int | None
) -> Matches:
    """The most similar kept row of each removed one."""
    chosen = get_kernel(kernel, len(kept) * len(removed) * rows.shape[1])
    with workers(thread_count(threads)) as pool:
        return best_matches([make_rows(rows)], kept, removed, None, chosen, pool)


def _pursued(
    rows: FloatArray, stay: FloatArray, terms: int, kernel: str, threads: int | None
) -> tuple[IntArray, FloatArray]:
    """Positions in ``stay`` and factors, shapes (n, terms), of the sums that rows become."""
    position = np.zeros((len(rows), terms), np.intp)
    scale = np.zeros((len(rows), terms))
    residual = rows.copy()
    small = _EXACT * np.sqrt(_squares(rows))
    for count in range(1, terms + 1):
        (open_,) = np.nonzero(np.sqrt(_squares(residual)) > small)
        if not len(open_):
            break
        both = np.concatenate([stay, residual[open_]])
        removed = np.arange(len(stay), len(both))
        found = _matches(both, np.arange(len(stay)), removed, kernel, threads)
        position[open_, count - 1] = np.maximum(found.position, 0)
        for part in _blocks(open_, max(1, _NUMBERS // (rows.shape[1] * count))):
            atoms = stay[position[part, :count]].astype(np.float64)
            factors = _solved(atoms, rows[part].astype(np.float64))
            scale[part, :count] = factors
            residual[part] = rows[part] - (factors[:, :, None] * atoms).sum(axis=1)
    return position, scale.astype(np.float32)


def _solved(atoms: Float64Array, wanted: Float64Array) -> Float64Array:
    """The factors (n, t) of least squares: rows (n, D) as sums of atoms (n, t, D)."""
    count = atoms.shape[1]
    gram = atoms @ atoms.transpose(0, 2, 1)
    mean = np.trace(gram, axis1=1, axis2=2) / count
    gram += (_RIDGE * mean + np.finfo(np.float64).tiny)[:, None, None] * np.eye(count)
    return np.asarray(np.linalg.solve(gram, atoms @ wanted[:, :, None])[..., 0], np.float64)
