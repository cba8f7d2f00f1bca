"""How much memory a contender needs, measured in a process of its own."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

from nmcore.bench.baselines import Peer
from nmcore.bench.contenders import rows_to_time
from nmcore.bench.problems import Problem, Size
from nmcore.errors import ArgumentError


def peak_memory(size: Size, peer: Peer, seed: int, threads: int) -> float | None:
    """Run a contender once in a new process and return how much that grew, in 10**6 bytes.

    The process is told of it by pickle, that is by the module and name of its function, and finds
    modules where this one does. None where it fails.

    Raises
    ------
    ArgumentError
        If the function does not stand in a module.
    """
    try:
        call = pickle.dumps((size, peer, seed, threads))
    except (pickle.PicklingError, AttributeError) as error:
        raise ArgumentError(
            "memory: is measured in a new process, which cannot import this contender; need a "
            f"function of a module, or memory=False ({error})"
        ) from error
    done = subprocess.run(
        [sys.executable, "-c", "from nmcore.bench.memory import probe; probe()"],
        input=call,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    return float(done.stdout.split()[-1]) if done.returncode == 0 and done.stdout else None


def probe() -> None:
    """Print how much this process grows while the contender given on stdin runs."""
    size, peer, seed, threads = pickle.load(sys.stdin.buffer)
    small = Problem.random(Size(64, size.d, 32), 0)
    # Loads the libraries and compiles what is compiled, neither of which is the problem's doing.
    peer.find(small.weight, small.kept, small.removed, threads)
    problem = Problem.random(size, seed)
    some = problem.removed[: rows_to_time(size, peer)]
    before = _high_water()
    peer.find(problem.weight, problem.kept, some, threads)
    print((_high_water() - before) / 1e6)


def _high_water() -> float:
    """Return the most memory that this process has held, in bytes, by the system's own figure.

    ``ru_maxrss`` of a new process starts at its parent's on Linux, where ``VmHWM`` does not.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return 1024.0 * int(line.split()[1])
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit
