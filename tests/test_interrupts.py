"""Ctrl-C ends what is going on, even where the first one is lost."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from nmcore.interrupts import insisting

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def swallowing(times: int) -> None:
    """Work that loses some interrupts, as native code does."""
    lost = 0
    while True:
        try:
            if not lost:
                press()
            time.sleep(5)
        except KeyboardInterrupt:
            lost += 1
            if lost > times:
                raise


def test_a_lost_interrupt_comes_again():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGALRM)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), insisting(0.05):
        swallowing(times=3)
    assert time.monotonic() - start < 4
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGALRM)) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_nothing_comes_of_no_interrupt():
    with insisting(0.01):
        time.sleep(0.05)
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_other_threads_are_left_alone():
    seen = []

    def work() -> None:
        before = signal.getsignal(signal.SIGINT)
        with insisting():
            seen.append(signal.getsignal(signal.SIGINT) is before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True]
