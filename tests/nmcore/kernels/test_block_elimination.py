"""Elimination in panels: the same as inverting what is left after every removal."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.kernels import block_elimination
from nmcore.kernels.block_elimination import Blocks, Factor, Gram, eliminate_blocks
from nmcore.kernels.threads import Workers


def gram(weights, taps):
    return Gram(weights @ weights.T, taps)


def reader(seed, channels, taps, form, outputs=4):
    """The inverse of a covariance with the best weights, and what they fit."""
    rng = np.random.default_rng(seed)
    width = channels * taps
    x = rng.standard_normal((3 * width, width)) @ rng.standard_normal((width, width))
    covariance, cross = x.T @ x / len(x), rng.standard_normal((width, outputs))
    inverse = np.linalg.inv(covariance)
    weights = inverse @ cross
    return Blocks(inverse, form(weights, taps)), covariance, cross


def explained(covariance, cross, kept, taps):
    """How much of the targets' variance the kept channels explain."""
    own = (np.array(sorted(kept))[:, None] * taps + np.arange(taps)).ravel()
    return np.trace(cross[own].T @ np.linalg.solve(covariance[np.ix_(own, own)], cross[own]))


@pytest.mark.parametrize("form", [gram, Factor])
@pytest.mark.parametrize("panel", [1, 16, 128])
@pytest.mark.parametrize("taps", [(1,), (4,), (1, 3)])
def test_each_removal_costs_what_is_explained_less(monkeypatch, taps, panel, form):
    """Panels that are filled, and channels that are moved to the front, on the way."""
    monkeypatch.setattr(block_elimination, "PANEL", panel)
    parts = [reader(seed, 40, each, form) for seed, each in enumerate(taps)]
    removed, cost = eliminate_blocks([blocks for blocks, *_ in parts], 30, Workers(1))
    assert len(set(removed.tolist())) == 30
    kept = set(range(40))
    for channel, found in zip(removed, cost, strict=True):
        losses = {
            other: sum(
                explained(c, v, kept, t) - explained(c, v, kept - {other}, t)
                for (_, c, v), t in zip(parts, taps, strict=True)
            )
            for other in kept
        }
        assert found == pytest.approx(losses[channel], rel=1e-6)
        assert found == pytest.approx(min(losses.values()), rel=1e-6)
        kept.remove(channel)


@pytest.mark.parametrize("form", [gram, Factor])
def test_what_rounding_leaves_of_a_twin_does_no_harm(form):
    """Once one of two equal channels is gone, only the ridge tells what the other one does."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 5, 3))
    x[:, 3] = x[:, 1]
    x = x.reshape(200, -1)
    covariance = x.T @ x / 200 + 1e-9 * np.eye(15)
    inverse = np.linalg.inv(covariance)
    weights = inverse @ (x.T @ x / 200) @ rng.standard_normal((15, 2))
    removed, cost = eliminate_blocks([Blocks(inverse, form(weights, 3))], 4, Workers(1))
    assert removed[0] in (1, 3)
    assert np.isfinite(cost).all()
    assert (cost >= 0).all()
