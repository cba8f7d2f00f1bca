"""Inputs as a model is fed with them."""

from __future__ import annotations

import numpy as np

from nmcore.data.dataset import Dataset
from nmcore.data.feeds import batch_size


def test_large_inputs_make_small_batches():
    assert batch_size(Dataset("d", np.empty((2, 3, 224, 224), np.uint8))) == 6
    assert batch_size(Dataset("d", np.empty((2, 3000, 3000), np.uint8))) == 1
    assert batch_size(Dataset("d", np.empty(2))) == 256
