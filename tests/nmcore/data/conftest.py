"""Data files."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from nmcore.utils.logs import NOTICES, mention, tell


@pytest.fixture
def saved(tmp_path):
    def save(**arrays):
        np.savez(tmp_path / "d.npz", **arrays)
        return tmp_path / "d.npz"

    return save


@pytest.fixture
def told():
    """The lines that users are told, as they come."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    tell.cache_clear()
    mention.cache_clear()
    notices = logging.getLogger(NOTICES)
    level = notices.level
    notices.setLevel(logging.INFO)
    notices.addHandler(handler)
    yield lines
    notices.setLevel(level)
    logging.getLogger(NOTICES).removeHandler(handler)
