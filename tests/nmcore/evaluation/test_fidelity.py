"""How alike a model and its compressed form are."""

from __future__ import annotations

import numpy as np
import pytest

from chain import Chain
from nmcore.evaluation.fidelity import compared
from nmcore.plugins import registry


@pytest.mark.parametrize(("macs", "count"), [(None, 64), (10**6, 64), (10**9, 32), (10**12, 16)])
def test_slow_models_are_compared_on_fewer_inputs(macs, count):
    model = Chain(("n", 4)).node("MatMul", np.eye(4, dtype=np.float32)).build().SerializeToString()
    sessions = [registry.runtime().session(model) for _ in range(2)]
    assert compared(*sessions, None, macs=macs, seed=0).n == count
