"""The best query and key channels for the scores of attention heads."""

import numpy as np
import pytest

from nmcore.arrays.attention_scores import score_basis

WIDTH, COUNT = 6, 4000


def rows(rng, rank=WIDTH, shift=0.0):
    mixed = rng.standard_normal((COUNT, rank)) @ rng.standard_normal((rank, WIDTH))
    return mixed + shift * rng.standard_normal(WIDTH)


def second(queries):
    return queries.T @ queries / len(queries)


def covariance(keys):
    return np.cov(keys.T, bias=True)


def score_error(queries, keys, maps):
    """The mean squared error of all scores around what those of one query share, and their mean
    square.
    """
    keys = keys - keys.mean(axis=0)
    scores = queries[:300] @ keys[-300:].T
    lost = scores - queries[:300] @ maps @ keys[-300:].T
    return np.square(lost).mean() / np.square(scores).mean()


def test_the_error_is_that_of_the_scores():
    rng = np.random.default_rng(0)
    queries, keys = rows(rng, shift=2), rows(rng, shift=3)
    basis = score_basis([second(queries)], [covariance(keys)])
    assert (np.diff(basis.error) > 0).all()
    for width in (2, 4):
        narrowed = basis.narrowing(width, 1)
        maps = narrowed.query[0] @ narrowed.key[0].T
        assert np.linalg.matrix_rank(maps) == narrowed.width == width
        measured = score_error(queries, keys, maps)
        assert measured == pytest.approx(basis.error[WIDTH - 1 - width], rel=0.15)


def test_no_other_channels_are_better():
    rng = np.random.default_rng(1)
    queries, keys = rows(rng), rows(rng, shift=1)
    moments = second(queries), covariance(keys)
    basis = score_basis([moments[0]], [moments[1]])

    def error(maps):
        lost = np.eye(WIDTH) - maps
        return np.trace(moments[0] @ lost @ moments[1] @ lost.T) / np.trace(moments[0] @ moments[1])

    narrowed = basis.narrowing(3, 1)
    best = error(narrowed.query[0] @ narrowed.key[0].T)
    assert best == pytest.approx(basis.error[2])
    for each in moments:
        _, vectors = np.linalg.eigh(each)
        assert error(vectors[:, 3:] @ vectors[:, 3:].T) > best
    for _ in range(20):
        some = np.linalg.qr(rng.standard_normal((WIDTH, 3)))[0]
        assert error(some @ some.T) > best


def test_scores_of_low_rank_lose_nothing():
    rng = np.random.default_rng(2)
    queries, keys = rows(rng, rank=2), rows(rng, shift=5)
    basis = score_basis([second(queries)], [covariance(keys)])
    np.testing.assert_allclose(basis.error[: WIDTH - 2], 0, atol=1e-9)
    assert basis.error[WIDTH - 2] > 0.01
    narrowed = basis.narrowing(2, 1)
    centred = keys - keys.mean(axis=0)
    found = (queries[:50] @ narrowed.query[0]) @ (centred[:50] @ narrowed.key[0]).T
    wanted = queries[:50] @ centred[:50].T
    np.testing.assert_allclose(found, wanted, atol=1e-6 * np.abs(wanted).max())


def test_query_heads_of_one_key_head_share_its_maps():
    rng = np.random.default_rng(3)
    queries, keys = [rows(rng) for _ in range(4)], [rows(rng) for _ in range(2)]
    summed = [second(a) + second(b) for a, b in (queries[:2], queries[2:])]
    narrowed = score_basis(summed, [covariance(each) for each in keys]).narrowing(3, 4)
    assert narrowed.query.shape == (4, WIDTH, 3)
    assert narrowed.key.shape == (2, WIDTH, 3)
    np.testing.assert_array_equal(narrowed.query[0], narrowed.query[1])
    assert not np.allclose(narrowed.query[1], narrowed.query[2])


def test_constant_keys_and_no_queries_are_defined():
    nothing = np.zeros((WIDTH, WIDTH))
    for moments in ((np.eye(WIDTH), nothing), (nothing, np.eye(WIDTH)), (nothing, nothing)):
        basis = score_basis([moments[0]], [moments[1]])
        assert np.isfinite(basis.query).all()
        assert np.isfinite(basis.key).all()
        np.testing.assert_allclose(basis.error, 0, atol=1e-8)
