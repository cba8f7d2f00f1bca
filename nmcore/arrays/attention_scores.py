"""Fewer query and key channels inside attention heads, from second moments.

The scores of a head are products Q K' of its queries and keys, both of width D. Any maps A, B of
shape (D, d) give narrower ones, (Q A)(K B)'. With M the second moment of the queries and C the
covariance of the keys the error that is least on average is that of

    A = C^(1/2) V,  B = C^(-1/2) V,

where V holds the leading d eigenvectors of C^(1/2) M C^(1/2): it is the sum of the other
eigenvalues, as E||Q (I - A B') K'||^2 = tr(M (I - A B') C (I - A B')'), whose least value for a
product of rank d is that of truncated singular values (Eckart & Young, "The approximation of one
matrix by another of lower rank", 1936). Keys count around their mean, since a constant that all
scores of a query share leaves their softmax as it is. Query heads that share one key head (grouped
queries) have one pair of maps, for the sum of their moments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nmcore.group import Float64Array, Narrowing

# Eigenvalues below this share of the largest are rounding.
_FLOOR = 1e-9


@dataclass(frozen=True, eq=False)
class ScoreBasis:
    """The channels of all heads of one attention in the order of what they do to its scores.

    Attributes
    ----------
    query, key : array, shape (G, D, D)
        For each key head the maps of its query heads and of itself; the first d columns are A and B
        of rank d.
    error : array, shape (D - 1,)
        What removing one, two, ... channels of every head leaves of error, relative to the scores
        of all heads together.
    """

    query: Float64Array
    key: Float64Array
    error: Float64Array

    def narrowing(self, width: int, query_heads: int) -> Narrowing:
        """The maps to ``width`` channels, those of ``query_heads`` query heads repeated."""
        shared = query_heads // len(self.key)
        query = np.repeat(self.query[:, :, :width], shared, axis=0)
        return Narrowing(query, self.key[:, :, :width])


def score_basis(queries: Sequence[Float64Array], keys: Sequence[Float64Array]) -> ScoreBasis:
    """The best channels for the scores of several heads, by falling share of them.

    Parameters
    ----------
    queries : sequence of array, shape (D, D)
        For each key head the second moment of its queries, summed over the query heads that read
        it.
    keys : sequence of array, shape (D, D)
        For each key head the covariance of its keys.

    Returns
    -------
    ScoreBasis

    Examples
    --------
    Queries that never use the second channel need it neither in the keys:

    >>> basis = score_basis([np.diag([4.0, 0.0])], [np.array([[2.0, 1.0], [1.0, 2.0]])])
    >>> basis.error.round(6)
    array([0.])
    >>> narrowed = basis.narrowing(1, query_heads=1)
    >>> (narrowed.query[0] @ narrowed.key[0].T).round(6)[0]
    array([1., 0.])
    """
    found = [_of_head(moment, covariance) for moment, covariance in zip(queries, keys, strict=True)]
    query, key, values = (np.stack(parts) for parts in zip(*found, strict=True))
    share = values.sum(axis=0)
    total = share.sum()
    dropped = np.cumsum(share[:0:-1])
    return ScoreBasis(query, key, dropped / total if total > 0 else np.zeros(len(dropped)))


def _of_head(
    moment: Float64Array, covariance: Float64Array
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """A and B of full rank, and the eigenvalues, all by falling eigenvalue."""
    root, inverse = _roots(covariance)
    values, vectors = np.linalg.eigh(root @ moment @ root)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    # Queries and keys of the same size, which half precision wants.
    size = np.maximum(values, _FLOOR * values[0] if values[0] > 0 else 1) ** 0.25
    return root @ vectors / size, inverse @ vectors * size, values


def _roots(covariance: Float64Array) -> tuple[Float64Array, Float64Array]:
    """The square root of a covariance, and its inverse where keys vary at all."""
    values, vectors = np.linalg.eigh(covariance)
    varies = values > _FLOOR * max(values[-1], 0)
    root = np.sqrt(np.where(varies, values, 0))
    inverse = np.where(varies, 1 / np.where(varies, root, 1), 0)
    return (vectors * root) @ vectors.T, (vectors * inverse) @ vectors.T
