"""Data files."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def saved(tmp_path):
    def save(**arrays):
        np.savez(tmp_path / "d.npz", **arrays)
        return tmp_path / "d.npz"

    return save
