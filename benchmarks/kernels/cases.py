"""What is timed beside MostSim, and how each answer is checked.

A case is a dict of calls and a function that raises where what a call returned is wrong.
"""

import numpy as np

from nmcore import absorb, scaling_matrix, select
from nmcore.arrays.elimination import error_selection
from nmcore.bench import WrongAnswerError

DAMPING = 1e-3
# Rounding moves errors and sums by far less, a wrong channel by far more.
ERROR = 1e-8
# The plain elimination drops the rows of removed channels whenever there are so many of them.
COMPACT = 64
# Beyond this it takes minutes; the kernels are then compared with each other.
LARGEST = 2048


def selection_by_error(width, kernels, rng, threads):
    """Half of the channels by backward elimination, beside dense factorisations of their size."""
    samples = rng.standard_normal((2 * width, width))
    readers = rng.standard_normal((width, 64))
    C, H = samples.T @ samples / len(samples), readers @ readers.T
    calls = {
        "LAPACK Cholesky, N^3 / 3": lambda: np.linalg.cholesky(C),
        "LAPACK QR, R alone, 4/3 N^3": lambda: np.linalg.qr(C, mode="r"),
        "LAPACK LU and inverse, 2 N^3": lambda: np.linalg.inv(C),
        "BLAS product, 2 N^3": lambda: C @ H,
    }
    for kernel in kernels:
        calls[f"nmcore {kernel}"] = lambda kernel=kernel: error_selection(
            C, H, width // 2, damping=DAMPING, kernel=kernel, threads=threads
        )
    expected = [plain_elimination(C, H, width // 2)] if width <= LARGEST else []

    def check(name, found):
        if name.startswith("nmcore"):
            expected.append(found[0])
            check_selection(name, C, H, *found, expected[0])

    return calls, check


def check_selection(name, C, H, kept, curve, expected):
    """Raise unless the channels are the expected ones and the curve ends at what they leave."""
    if not np.array_equal(kept, expected):
        raise WrongAnswerError(f"{name}: kept {len(np.setdiff1d(kept, expected))} wrong channels")
    left = share_left(C, H, kept)
    if abs(curve[-1] - left) > ERROR:
        raise WrongAnswerError(f"{name}: says that {curve[-1]:.6g} is lost, where {left:.6g} is")


def plain_elimination(C, H, keep):
    """Return the channels left by removing one after the other, both matrices always up to date."""
    channel = np.arange(len(C))
    M, G = np.linalg.inv(damped(C)), H.copy()
    gone = np.zeros(len(C), bool)
    for _ in range(len(C) - keep):
        with np.errstate(all="ignore"):
            j = np.argmin(np.where(gone, np.inf, np.diagonal(G) / np.diagonal(M)))
        gone[j] = True
        m, g, d, e = M[j] / M[j, j], G[j].copy(), M[j, j], G[j, j]
        M -= np.outer(d * m, m)
        G -= np.stack([m, g]).T @ np.stack([g - e * m, m])
        if gone.sum() >= COMPACT:
            rest = np.flatnonzero(~gone)
            channel, gone = channel[rest], gone[rest]
            M, G = M[np.ix_(rest, rest)], G[np.ix_(rest, rest)]
    return channel[~gone]


def share_left(C, H, kept):
    """Return the share of trace(H C) that is lost once all channels are refitted from the kept."""
    D = damped(C)
    rebuilt = np.linalg.solve(D[np.ix_(kept, kept)], D[kept])
    return 1 - np.vdot(H, D[:, kept] @ rebuilt) / np.vdot(H, D)


def damped(C):
    """Return the covariance with a share of its mean variance added to each variance."""
    return C + DAMPING * C.trace() / len(C) * np.eye(len(C))


def criteria(size, kernels, rng, threads):
    """The criteria that read the weight alone, beside the product that l2-gm contains."""
    weight = rng.standard_normal((size.n, size.d), dtype=np.float32)
    calls = {"BLAS float64 product of half the pairs": lambda: half_the_pairs(weight)}
    expected = {}
    for criterion, scores in plain_scores(weight.astype(float)).items():
        expected[criterion] = np.sort(np.argsort(-scores, kind="stable")[: size.p])
        for kernel in kernels:
            calls[f"nmcore {criterion}, {kernel}"] = lambda criterion=criterion, kernel=kernel: (
                select(weight, size.p, criterion, kernel=kernel, threads=threads)
            )

    def check(name, found):
        if name.startswith("nmcore"):
            criterion = name.split()[1].rstrip(",")
            if not np.array_equal(found, expected[criterion]):
                raise WrongAnswerError(f"{name}: kept other channels than a plain program")

    return calls, check


def half_the_pairs(weight):
    """Return the products of one half of the rows with all rows, in float64."""
    wide = weight.astype(float)
    return wide[: len(wide) // 2] @ wide.T


def plain_scores(weight):
    """Return each criterion's scores (N,), computed by its definition."""
    squares = np.square(weight).sum(axis=1)
    apart = squares[:, None] + squares - 2 * weight @ weight.T
    return {
        "l1": np.abs(weight).sum(axis=1),
        "l2": np.sqrt(squares),
        "l2-gm": np.sqrt(np.maximum(apart, 0)).sum(axis=1),
    }


def absorption(size, rng):
    """Folding a merge into the next weight, beside the dense product that it replaces."""
    weight = rng.standard_normal((size.n, 64), dtype=np.float32)
    kept = np.arange(size.p)
    scaling = scaling_matrix(weight, kept, threshold=-1)
    reader = rng.standard_normal((size.d, size.n), dtype=np.float32)
    Z = scaling.Z.astype(np.float32)
    expected = reader @ Z.T
    calls = {
        "BLAS product with dense Z": lambda: reader @ Z.T,
        "nmcore absorb": lambda: absorb(reader, scaling)[0],
        "copy of the kept columns": lambda: reader[:, kept],
    }

    def check(name, found):
        if name.startswith("nmcore") and not np.allclose(found, expected, rtol=1e-4, atol=1e-3):
            raise WrongAnswerError(f"{name}: differs from the product with Z")

    return calls, check
