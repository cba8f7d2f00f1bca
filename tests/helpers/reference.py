"""The algorithms read loop by loop, in float64, from the papers and from nmcore's own formulas.

The papers are Neuron Merging (Kim et al., NeurIPS 2020; algorithms 1 and 2 with the program
published with it) and LBYL (Lee et al., arXiv:2502.08474).

Nothing here is shared with nmcore: these functions are what its results are compared with.
"""

import math

import numpy as np


def rows_of(weight, bias=None):
    rows = [np.asarray(row, dtype=np.float64).reshape(-1) for row in weight]
    if bias is not None:
        rows = [np.append(row, float(b)) for row, b in zip(rows, bias, strict=True)]
    return rows


def length(row):
    return math.sqrt(float(np.dot(row, row)))


def cosine(a, b):
    if length(a) == 0 or length(b) == 0:
        return 0.0
    return float(np.dot(a, b)) / (length(a) * length(b))


def empty_z(width, kept):
    Z = np.zeros((len(kept), width))
    for position, p in enumerate(kept):
        Z[position, p] = 1.0
    return Z


def merge_linear(rows, kept, threshold):
    """Algorithm 1: the greatest cosine, the ratio of norms, the threshold."""
    Z = empty_z(len(rows), kept)
    for n in range(len(rows)):
        if n in kept:
            continue
        best, best_position = None, None
        for position, p in enumerate(kept):
            if length(rows[p]) == 0:
                continue
            similarity = cosine(rows[n], rows[p])
            if best is None or similarity > best:
                best, best_position = similarity, position
        if best is None or best < threshold:
            continue
        Z[best_position, n] = length(rows[n]) / length(rows[kept[best_position]])
    return Z


def merge_by_score(kept, width, pair, threshold, lam):
    """Algorithm 2: ``pair(n, p)`` gives (cosine, scale, bias distance), or None."""
    Z = empty_z(width, kept)
    for n in range(width):
        if n in kept:
            continue
        candidates = [(position, pair(n, p)) for position, p in enumerate(kept)]
        candidates = [(position, found) for position, found in candidates if found is not None]
        if not candidates:
            continue
        low = min(distance for _, (_, _, distance) in candidates)
        high = max(distance for _, (_, _, distance) in candidates)
        best, chosen = None, None
        for position, (similarity, scale, distance) in candidates:
            spread = (distance - low) / (high - low) if high > low else 0.0
            score = lam * (1 - similarity) + (1 - lam) * spread
            if best is None or score < best:
                best, chosen = score, (position, similarity, scale)
        position, similarity, scale = chosen
        if similarity < threshold:
            continue
        Z[position, n] = scale
    return Z


def merge_released(rows, kept, bn, threshold, lam):
    """Raw rows; the running variance stands where the formula has sigma."""
    gamma, beta, mean, var = (
        [float(x) for x in values] for values in (bn.gamma, bn.beta, bn.mean, bn.var)
    )

    def pair(n, p):
        if 0.0 in (length(rows[n]), length(rows[p]), gamma[n], gamma[p], var[n], var[p]):
            return None
        s = length(rows[n]) / length(rows[p])
        S = s * (gamma[p] / gamma[n]) * (var[n] / var[p])
        B = abs(
            (gamma[p] / var[p]) * (s * (-(var[n] * beta[n] / gamma[n]) + mean[n]) - mean[p])
            + beta[p]
        )
        return cosine(rows[n], rows[p]), S, B / S

    return merge_by_score(kept, len(rows), pair, threshold, lam)


def merge_folded(rows, bias, kept, threshold, lam):
    """Rows and biases from which the batch norm has been folded away."""
    bias = [float(b) for b in bias]

    def pair(n, p):
        if length(rows[n]) == 0 or length(rows[p]) == 0:
            return None
        scale = length(rows[n]) / length(rows[p])
        return cosine(rows[n], rows[p]), scale, abs(bias[n] - scale * bias[p])

    return merge_by_score(kept, len(rows), pair, threshold, lam)


def fold(weight, bn):
    """Rows and biases with the batch norm folded in."""
    rows, biases = [], []
    for n, row in enumerate(rows_of(weight)):
        deviation = math.sqrt(float(bn.var[n]) + bn.eps)
        gain = float(bn.gamma[n]) / deviation
        rows.append(row * gain)
        biases.append(float(bn.beta[n]) - float(bn.gamma[n]) * float(bn.mean[n]) / deviation)
    return rows, biases


def keep_highest(scores, keep):
    """The highest scores; of equal ones the lower index."""
    order = sorted(range(len(scores)), key=lambda n: (-scores[n], n))
    return sorted(order[:keep])


def score_l1(rows):
    return [float(np.sum(np.abs(row))) for row in rows]


def score_l2(rows):
    return [length(row) for row in rows]


def score_l2_gm(rows):
    scores = []
    for row in rows:
        total = 0.0
        for other in rows:
            total += length(row - other)
        scores.append(total)
    return scores


def score_out_norm(rows, next_weight):
    scores = []
    for n, row in enumerate(rows):
        column = np.asarray(next_weight, dtype=np.float64)[:, n].reshape(-1)
        scores.append(length(row) * math.sqrt(float(np.sum(np.square(column)))))
    return scores


def absorb(next_weight, Z, axis, repeat):
    """V'[.., p, t, ..] = sum over n of V[.., n, t, ..] Z[p, n]."""
    V = np.moveaxis(np.asarray(next_weight, dtype=np.float64), axis, 0)
    result = np.zeros((Z.shape[0] * repeat, *V.shape[1:]))
    for p in range(Z.shape[0]):
        for n in range(Z.shape[1]):
            for t in range(repeat):
                result[p * repeat + t] += V[n * repeat + t] * Z[p, n]
    return np.moveaxis(result, 0, axis)


def error_elimination(C, H, keep):
    """Backward elimination: refit from scratch for every channel that might go."""
    kept = list(range(len(C)))
    curve = [0.0]
    while len(kept) > keep:
        errors = [remaining_error(C, H, [k for k in kept if k != j]) for j in kept]
        best = min(range(len(kept)), key=lambda at: (errors[at], kept[at]))
        curve.append(errors[best])
        kept.pop(best)
    return kept, np.array(curve) / np.trace(H @ C)


def remaining_error(C, H, kept):
    """tr(H R), R the covariance of what the kept channels do not explain."""
    X = np.linalg.solve(C[np.ix_(kept, kept)], C[kept])
    residual = C - C[:, kept] @ X
    return float(np.trace(H @ residual))
