"""The processes that a command has started, as a system with /proc tells them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

CAN_TELL = Path("/proc/self/stat").exists()
PATIENCE = 120


def members(session: int) -> list[int]:
    """The processes of a session that are alive; those that nobody has waited for are not."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _parent, _group, leader, *_ = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(leader) == session and state != "Z":
            found.append(int(path.parent.name))
    return found


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for something that other processes do."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
