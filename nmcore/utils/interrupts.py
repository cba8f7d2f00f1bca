"""Ctrl-C (SIGINT): a second one ends the process, and imports are not interrupted half-way.

Native code that calls back into Python can swallow it, and an extension that is just being imported
can crash over it.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Longer than any clean-up on the way out takes.
SECONDS = 0.5
# How soon it is looked again whether an import has ended.
SOON = 0.02


@contextmanager
def insisting(seconds: float = SECONDS) -> Iterator[None]:
    """Raise KeyboardInterrupt again and again from the first Ctrl-C on, until the block is left.

    onnxruntime loses about one in four that arrive while it runs a small model. While a module is
    being imported none is raised: onnx's extension ends the process over one in ten. Outside the
    main thread, where the system has no timers, and where somebody else handles Ctrl-C or it is
    ignored, nothing changes.
    """
    if not _is_ours() or not hasattr(signal, "setitimer"):
        yield
        return

    outside = _imports(sys._getframe())

    def first(_signal: int, frame: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
        again(_signal, frame)

    def again(_signal: int, frame: FrameType | None) -> None:
        if _imports(frame) > outside:
            signal.setitimer(signal.ITIMER_REAL, SOON, seconds)
        else:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, first), signal.signal(signal.SIGALRM, again)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGALRM, before[1])


def _is_ours() -> bool:
    """Whether Ctrl-C does what Python lets it do; a job in the background ignores it, say."""
    in_main = threading.current_thread() is threading.main_thread()
    return in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _imports(frame: FrameType | None) -> int:
    """How many frames of the import system are at work below a frame."""
    count = 0
    while frame is not None:
        count += frame.f_code.co_filename.startswith("<frozen importlib")
        frame = frame.f_back
    return count


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Let Ctrl-C end the process without a word, where there is nothing yet to clean up.

    Outside the main thread, and where somebody else handles it or it is ignored, nothing changes.
    """
    if not _is_ours():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
