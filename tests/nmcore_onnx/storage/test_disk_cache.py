"""Arrays that are too many for memory."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.errors import ArgumentError
from nmcore_onnx.storage import disk_cache


def test_no_room_for_weights_beyond_memory(monkeypatch):
    class Full:
        def seek(self, *_):
            return 0

        def write(self, _):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk_cache.tempfile, "TemporaryFile", lambda **_: Full())
    full = disk_cache.DiskCache(memory=0)
    first = full.put(np.zeros(100))
    for failing in (first, lambda: full.put(np.zeros(3))):
        with pytest.raises(ArgumentError, match="no room for 800 bytes of changed weights"):
            failing()
