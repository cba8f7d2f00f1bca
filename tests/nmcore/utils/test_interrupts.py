"""Ctrl-C ends what is going on, even where the first one is lost, and crashes no import."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from nmcore.utils.interrupts import ending_at_once, insisting

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


_PRESSING = """
import os, signal, time
for _ in range(2):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)
complete = True
"""


def import_and_wait(name: str) -> None:
    importlib.import_module(name)
    time.sleep(5)


def test_an_import_is_completed_first(tmp_path, monkeypatch):
    (tmp_path / "pressing.py").write_text(_PRESSING)
    monkeypatch.syspath_prepend(tmp_path)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), insisting():
        import_and_wait("pressing")
    assert sys.modules.pop("pressing").complete
    assert time.monotonic() - start < 4
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_what_runs_inside_an_import_is_interrupted(tmp_path, monkeypatch):
    code = "import time, test_it\nwith test_it.insisting(): test_it.press(); time.sleep(5)"
    (tmp_path / "script.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "test_it", sys.modules[__name__])
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        importlib.import_module("script")
    assert time.monotonic() - start < 4


@pytest.mark.parametrize("thread", ["main", "other"])
def test_a_process_that_has_done_nothing_ends_without_a_word(thread):
    code = f"""
import threading
from nmcore.utils.interrupts import ending_at_once
import signal

def work():
    before = signal.getsignal(signal.SIGINT)
    with ending_at_once():
        if {thread == "main"}:
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is before

if {thread == "main"}:
    work()
else:
    other = threading.Thread(target=work)
    other.start()
    other.join()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.stdout, done.stderr) == (b"", b"")
    assert done.returncode == (-signal.SIGINT if thread == "main" else 0)


def test_what_came_before_is_there_again():
    before = signal.getsignal(signal.SIGINT)
    with ending_at_once():
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is before


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
