"""Ctrl-C that is heard: native code that calls back into Python can swallow it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

# Longer than any clean-up on the way out takes.
SECONDS = 0.5


@contextmanager
def insisting(seconds: float = SECONDS) -> Iterator[None]:
    """Raise KeyboardInterrupt again and again from the first Ctrl-C on, until the block is left.

    onnxruntime loses about one in four that arrive while it runs a small model. Outside the main
    thread, and where the system has no timers, nothing changes.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or not hasattr(signal, "setitimer"):
        yield
        return

    def first(_signal: int, _frame: FrameType | None) -> NoReturn:
        signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
        raise KeyboardInterrupt

    def again(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, first), signal.signal(signal.SIGALRM, again)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGALRM, before[1])
