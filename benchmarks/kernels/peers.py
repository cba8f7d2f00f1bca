"""Other libraries' searches for the most similar rows, timed beside nmcore's kernels.

Each has the form of :class:`nmcore.bench.Peer`; a library is imported when its function is called.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np

from nmcore.bench import Peer
from nmcore.group import FloatArray, IntArray


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


# Each with the module that must be installed.
LIBRARIES: dict[str, tuple[str, Peer]] = {
    "scikit-learn argmin": ("sklearn", Peer(sklearn_argmin, package="scikit-learn")),
    "scikit-learn similarity": ("sklearn", Peer(sklearn_similarity, package="scikit-learn")),
    "scikit-learn all pairs": ("sklearn", Peer(sklearn_all_pairs, package="scikit-learn")),
    "scipy cdist": ("scipy", Peer(scipy_cdist, pairs=1 << 20, package="scipy")),
    "torch matmul + argmax": ("torch", Peer(torch_matmul, package="torch")),
    "faiss IndexFlatIP": ("faiss", Peer(faiss_flat, package="faiss-cpu")),
}


def installed() -> dict[str, Peer]:
    """Return those that can run here, by name."""
    return {name: peer for name, (module, peer) in LIBRARIES.items() if find_spec(module)}
