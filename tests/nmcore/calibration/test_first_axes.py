"""Synthetic inputs of models whose inputs count different things along their first axes."""

from __future__ import annotations

import numpy as np

from nmcore.calibration.synthetic import synthesise
from nmcore.plugins import InputSpec

FLOAT = np.dtype(np.float32)


def test_they_come_one_at_a_time():
    specs = [InputSpec("x", (5, 2, 3), FLOAT), InputSpec("h", (1, 2, 4), FLOAT)]
    found = synthesise(specs, [(5, 2, 3), (1, 2, 4)], 6)
    assert found.apart
    assert len(found.batches) == 6
    assert {name: array.shape for name, array in found.batches[0].items()} == {
        "x": (5, 2, 3),
        "h": (1, 2, 4),
    }
    assert (found.batches[0]["x"] != found.batches[1]["x"]).any()


def test_those_of_one_length_come_together():
    specs = [InputSpec("a", (2, 3), FLOAT), InputSpec("b", (2, 4), FLOAT)]
    found = synthesise(specs, [(2, 3), (2, 4)], 6)
    assert not found.apart
    assert [len(each["a"]) for each in found.batches] == [2, 2, 2]
