"""Try what nmcore makes of a file, in a process of its own with limits on time and memory.

A trial ends in one of these ways; the first two are what a user should see:

* ``compressed``: a result that was checked, proven against a full-width network, and loads;
* ``error``: one clear line;
* ``traceback``: an exception that is no :class:`nmcore.errors.NmcoreError`;
* ``hang``, ``memory``: over the limits;
* ``crash``: the process died of a signal, in native code.
"""

from __future__ import annotations

import os
import resource
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import nmcore
from nmcore.errors import NmcoreError, VerificationError
from nmcore.plugins import registry

FINE = ("compressed", "error")
# So many bytes of an error or a traceback are kept.
_KEPT = 4_000
_POLL = 0.02


@dataclass(frozen=True)
class Limits:
    """What a trial may use: seconds, and bytes of resident memory beyond what it starts with."""

    seconds: float = 60.0
    memory: int = 2 * 2**30


@dataclass(frozen=True)
class Ending:
    """How a trial ended, its last words, and what it used."""

    how: str
    words: str
    seconds: float
    memory: int


def compress(path: Path, folder: Path) -> str:
    """Inspect, compress, prove, save and load a model, as ``nmcore compress --verify`` does."""
    graph = registry.open_graph(path)
    graph.cost()
    result = nmcore.compress(path, ratio=0.5, method="merge", verify=True, providers=("cpu",))
    target = folder / "small.onnx"
    result.save(target)
    registry.runtime().session(target, providers=("cpu",), threads=1)
    return f"{len(result.plan.groups)} groups"


def trial(path: Path, limits: Limits, work: Callable[[Path, Path], str] = compress) -> Ending:
    """Run ``work`` on a file in a child, and say how it ended."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.monotonic()
        child = os.fork()
        if child == 0:
            _work(path, folder, work)
        status, killed, memory = _watch(child, limits)
        words = (folder / "words").read_bytes() if (folder / "words").exists() else b""
        seconds = time.monotonic() - start
    how, _, text = words.decode(errors="replace").partition("\n")
    if killed:
        how = killed
    elif os.WIFSIGNALED(status):
        how, text = "crash", signal.Signals(os.WTERMSIG(status)).name
    return Ending(how or "crash", text, round(seconds, 2), memory)


def _work(path: Path, folder: Path, work: Callable[[Path, Path], str]) -> None:
    """In the child: write how it ended, and leave without what the parent would do at its end."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        words = f"compressed\n{work(path, folder)}"
    except NmcoreError as error:
        words = f"error\n{error}"
    except (Exception, VerificationError):
        words = f"traceback\n{traceback.format_exc()[-_KEPT:]}"
    (folder / "words").write_text(words, errors="backslashreplace")
    os._exit(0)


def _watch(child: int, limits: Limits) -> tuple[int, str, int]:
    """Wait for a child; kill it where it goes beyond its limits."""
    start, peak = time.monotonic(), 0
    first = _resident(child)
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status, "", peak
        peak = max(peak, _resident(child) - first)
        over = "memory" if peak > limits.memory else ""
        if time.monotonic() - start > limits.seconds:
            over = "hang"
        if over:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return 0, over, peak
        time.sleep(_POLL)


def _resident(process: int) -> int:
    """Bytes of memory that a process holds at the moment; 0 once it has ended."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * resource.getpagesize()


def warm_up() -> None:
    """Import and compile what every trial needs, so that children start with it."""
    for module in ("nmcore_onnx", "nmcore_ort", "onnxruntime"):
        import_module(module)
