"""Error selection, the criteria and absorbing Z, each beside what its size costs at the least.

OMP_NUM_THREADS=2 NUMBA_NUM_THREADS=2 taskset -c 0,1 python benchmarks/kernels/others.py
"""

import argparse
import json
import statistics
from pathlib import Path

import numpy as np
from cases import absorption, criteria, selection_by_error
from rich.console import Console
from rich.table import Table

from nmcore import bench
from nmcore.bench.turns import take_turns
from nmcore.kernels.threads import thread_count
from nmcore.utils.files import atomic_write

KERNELS = ("numpy", "numba")


def cases(options, threads):
    """Return what is to be timed, by title."""
    rng = np.random.default_rng(options.seed)
    for width in options.width or ([] if options.size else [512, 2048]):
        title = f"error selection, {width} to {width // 2}"
        yield title, selection_by_error(width, KERNELS, rng, threads)
    for size in map(bench.Size.parse, options.size or ([] if options.width else ["2048x512,1024"])):
        yield f"criteria, {size}", criteria(size, KERNELS, rng, threads)
        title = f"absorbing a merge, {size.d} outputs, {size.n} to {size.p}"
        yield title, absorption(size, rng)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--width", type=int, action="append", help="for error selection; repeatable"
    )
    parser.add_argument("--size", action="append", metavar="NxD,P", help="for the rest; repeatable")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    threads = thread_count(options.threads)
    results = {}
    for title, (calls, check) in cases(options, threads):
        seconds = take_turns(calls, options.repeats, threads, check)
        results[title] = {name: statistics.median(taken) for name, taken in seconds.items()}
        Console().print(grid(title, results[title]))
    machine = bench.machine(threads)
    print(f"{machine['processor']}, {machine['threads']} threads")
    if options.json:
        kept = {"machine": machine, "repeats": options.repeats, "seconds": results}
        atomic_write(options.json, (json.dumps(kept, indent=1) + "\n").encode())


def grid(title, seconds):
    """Return a table of one case."""
    table = Table(title=title, title_justify="left")
    table.add_column("what", no_wrap=True)
    table.add_column("ms", justify="right")
    table.add_column("times the first", justify="right")
    first = next(iter(seconds.values()))
    for name, median in seconds.items():
        table.add_row(name, f"{1e3 * median:,.1f}", f"{median / first:.2f}")
    return table


if __name__ == "__main__":
    main()
