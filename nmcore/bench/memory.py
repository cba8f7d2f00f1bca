"""How much memory a contender needs, measured in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from nmcore.bench.contenders import named, rows_to_time
from nmcore.bench.problems import Problem, Size


def peak_memory(size: Size, name: str, seed: int, threads: int) -> float | None:
    """Run a contender once in a new process and return how much that grew, in 10**6 bytes.

    None where that process fails.
    """
    call = {"n": size.n, "d": size.d, "p": size.p, "name": name, "seed": seed, "threads": threads}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from nmcore.bench.memory import probe; probe(sys.argv[1])",
            json.dumps(call),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    return float(done.stdout.split()[-1]) if done.returncode == 0 and done.stdout else None


def probe(call: str) -> None:
    """Print how much this process grows while a contender runs; called in a new process."""
    options = json.loads(call)
    peer = named(options["name"])
    size = Size(options["n"], options["d"], options["p"])
    small = Problem.random(Size(64, size.d, 32), 0)
    # Loads the libraries and compiles what is compiled, neither of which is the problem's doing.
    peer.find(small.weight, small.kept, small.removed, options["threads"])
    problem = Problem.random(size, options["seed"])
    some = problem.removed[: rows_to_time(size, peer)]
    before = _high_water()
    peer.find(problem.weight, problem.kept, some, options["threads"])
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
