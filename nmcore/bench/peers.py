"""What a user would pick instead of nmcore, for the benchmark.

Each takes the weight (N, D), the kept and the removed channels and a number of threads, and returns
for every removed channel the position in `kept` of the row it finds most similar. The libraries are
imported when their function is called.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from nmcore.group import FloatArray, IntArray

Find = Callable[[FloatArray, IntArray, IntArray, int], IntArray]


class Peer(NamedTuple):
    """A function and what is to be known about it.

    Attributes
    ----------
    find : callable
        As the module says.
    needs : str or None
        The module that must be installed.
    pairs : int or None
        More pairs than this would take minutes: only as many rows are timed, and their time is
        multiplied.
    """

    find: Find
    needs: str | None = None
    pairs: int | None = None

    @property
    def installed(self) -> bool:
        """Whether it can run here."""
        return self.needs is None or find_spec(self.needs) is not None


def double_loop(weight: FloatArray, kept: IntArray, removed: IntArray, threads: int) -> IntArray:
    """Loop over removed and kept channels, as the published program does."""
    found = []
    for n in removed:
        best, position = -2.0, -1
        for at, p in enumerate(kept):
            lengths = np.linalg.norm(weight[n]) * np.linalg.norm(weight[p])
            cosine = float(np.dot(weight[n], weight[p]) / lengths)
            if cosine > best:
                best, position = cosine, at
        found.append(position)
    return np.array(found)


def numpy_matmul(weight: FloatArray, kept: IntArray, removed: IntArray, threads: int) -> IntArray:
    """Normalise everything, multiply, take the largest."""
    unit = weight / np.linalg.norm(weight, axis=1, keepdims=True)
    return np.asarray(np.argmax(unit[removed] @ unit[kept].T, axis=1))


def sklearn_argmin(weight: FloatArray, kept: IntArray, removed: IntArray, threads: int) -> IntArray:
    """``pairwise_distances_argmin`` with the cosine metric."""
    from sklearn.metrics import pairwise_distances_argmin

    return np.asarray(pairwise_distances_argmin(weight[removed], weight[kept], metric="cosine"))


def sklearn_similarity(
    weight: FloatArray, kept: IntArray, removed: IntArray, threads: int
) -> IntArray:
    """``cosine_similarity`` and argmax."""
    from sklearn.metrics.pairwise import cosine_similarity

    return np.asarray(np.argmax(cosine_similarity(weight[removed], weight[kept]), axis=1))


def sklearn_all_pairs(
    weight: FloatArray, kept: IntArray, removed: IntArray, threads: int
) -> IntArray:
    """All N x N cosine distances, of which the published program then reads the needed ones."""
    from sklearn.metrics import pairwise_distances

    distance = pairwise_distances(weight, metric="cosine")
    return np.asarray(np.argmin(distance[np.ix_(removed, kept)], axis=1))


def scipy_cdist(weight: FloatArray, kept: IntArray, removed: IntArray, threads: int) -> IntArray:
    """``cdist`` with the cosine metric, and argmin."""
    from scipy.spatial.distance import cdist

    return np.asarray(np.argmin(cdist(weight[removed], weight[kept], "cosine"), axis=1))


def torch_matmul(weight: FloatArray, kept: IntArray, removed: IntArray, threads: int) -> IntArray:
    """Normalise, multiply, take the largest."""
    import torch

    torch.set_num_threads(threads)
    rows = torch.from_numpy(weight)
    query = torch.nn.functional.normalize(rows[torch.from_numpy(removed)])
    target = torch.nn.functional.normalize(rows[torch.from_numpy(kept)])
    return np.asarray((query @ target.T).argmax(dim=1).numpy())


def faiss_flat(weight: FloatArray, kept: IntArray, removed: IntArray, threads: int) -> IntArray:
    """Search an exact inner-product index of unit rows."""
    import faiss

    faiss.omp_set_num_threads(threads)
    query, target = weight[removed], weight[kept]
    faiss.normalize_L2(query)
    faiss.normalize_L2(target)
    index: Any = faiss.IndexFlatIP(weight.shape[1])
    index.add(target)
    return np.asarray(index.search(query, 1)[1][:, 0])


PEERS: dict[str, Peer] = {
    "double loop": Peer(double_loop, pairs=1 << 17),
    "numpy matmul + argmax": Peer(numpy_matmul),
    "scikit-learn argmin": Peer(sklearn_argmin, "sklearn"),
    "scikit-learn similarity": Peer(sklearn_similarity, "sklearn"),
    "scikit-learn all pairs": Peer(sklearn_all_pairs, "sklearn"),
    "scipy cdist": Peer(scipy_cdist, "scipy", pairs=1 << 20),
    "torch matmul + argmax": Peer(torch_matmul, "torch"),
    "faiss IndexFlatIP": Peer(faiss_flat, "faiss"),
}
