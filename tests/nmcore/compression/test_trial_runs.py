"""A trial that begins where it differs gives what the whole network gives."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.compression.output_error import Trial
from nmcore.compression.trial_runs import TrialRuns
from nmcore.group import Refit
from nmcore.plugins import registry
from random_graphs import generate


def load(model):
    return registry.runtime().session(model, providers=("cpu",))


def halved(graph, group, rng):
    """Half of a group's channels removed, and what reads them scaled."""
    kept = np.sort(rng.permutation(group.width)[: -(-group.width // 2)])
    changes = [
        Refit(kept, consumer.weight[:, kept] * rng.uniform(0.5, 1.5), None)
        for consumer in graph.consumers(group)
    ]
    return Trial(group, kept, changes, 0.1)


@pytest.mark.parametrize("seed", range(8))
def test_begun_at_a_cut(seed):
    rng = np.random.default_rng(seed)
    sample = generate(seed)
    graph = registry.open_graph(sample.model)
    if graph.cut(graph.readings()) is None:
        pytest.skip("this graph cannot be cut")
    shown = [sample.feeds(0), sample.feeds(1)]
    trials = [halved(graph, group, rng) for group in graph.groups if group.consumers]
    carrying, whole = (TrialRuns(graph, shown, load, carries=each) for each in (True, False))
    begun = 0
    for number in carrying.order(trials):
        session, given = carrying.of(trials[number])
        begun += len(given[0]) > len(shown[0])
        wanted, same = whole.of(trials[number])
        assert same == shown
        for mine, theirs in zip(given, shown, strict=True):
            for found, right in zip(session.run(mine), wanted.run(theirs), strict=True):
                scale = np.abs(right).max() or 1.0
                np.testing.assert_allclose(found / scale, right / scale, atol=1e-4)
    assert begun
