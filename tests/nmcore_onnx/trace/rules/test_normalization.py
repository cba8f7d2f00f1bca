"""Normalisations without channels of their own."""

from __future__ import annotations

import numpy as np
import pytest

from chain import Chain
from proving import prove, reasons


@pytest.mark.parametrize("axes", [None, [2, 3], [0, -2, -1]])
def test_mean_and_variance_of_positions_pass(axes):
    given = {} if axes is None else {"axes": axes}
    chain = Chain((4, 3, 8, 8)).conv(8).node("MeanVarianceNormalization", **given).conv(4)
    prove(chain.build(check=axes is not None), {"conv1": 8})


def test_mean_and_variance_across_channels_do_not():
    chain = Chain().conv(8).node("MeanVarianceNormalization", axes=[1, 2, 3]).conv(4)
    assert "normalises across channels" in reasons(chain.build())["conv1"]


def test_rms_of_positions_passes():
    chain = Chain((2, 3, 8), opset=23).conv(8, 3)
    chain.node("RMSNormalization", np.full(6, 0.7, np.float32), axis=-1)
    prove(chain.conv(4, 3).build(), {"conv1": 8})
