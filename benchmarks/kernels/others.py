"""Error selection, the criteria and absorbing Z, each beside what its size costs at the least.

OMP_NUM_THREADS=2 NUMBA_NUM_THREADS=2 taskset -c 0,1 python benchmarks/kernels/others.py
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from nmcore import absorb, bench, scaling_matrix, select
from nmcore.criteria import error_selection
from nmcore.kernels.threads import blas_threads, thread_count


def take_turns(calls, repeats, threads):
    """Median seconds of each call; all take turns, and the first turn is not counted."""
    seconds = {name: [] for name in calls}
    with blas_threads(threads):
        for _ in range(repeats + 1):
            for name, call in calls.items():
                start = time.perf_counter()
                call()
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def elimination(width, kernels, rng, threads):
    samples = rng.standard_normal((2 * width, width))
    readers = rng.standard_normal((width, width))
    C, H = samples.T @ samples / len(samples), readers.T @ readers
    calls = {
        "numpy.linalg.cholesky": lambda: np.linalg.cholesky(C),
        "numpy.linalg.inv": lambda: np.linalg.inv(C),
        "numpy.linalg.qr, R only": lambda: np.linalg.qr(C, mode="r"),
        "numpy.linalg.eigh": lambda: np.linalg.eigh(C),
        "product C H": lambda: C @ H,
    }
    if width > 2048:
        del calls["numpy.linalg.eigh"]
    for kernel in kernels:
        calls[f"nmcore {kernel}"] = lambda kernel=kernel: error_selection(
            C, H, width // 2, kernel=kernel, threads=threads
        )
    return calls


def selection(size, kernels, rng, threads):
    weight = rng.standard_normal((size.n, size.d), dtype=np.float32)
    calls = {
        "float64 product of half the pairs": lambda: (
            weight[: size.n // 2].astype(float) @ weight.T.astype(float)
        )
    }
    for criterion in ("l1", "l2", "l2-gm"):
        for kernel in kernels:
            calls[f"nmcore {criterion} {kernel}"] = lambda criterion=criterion, kernel=kernel: (
                select(weight, size.p, criterion, kernel=kernel, threads=threads)
            )
    return calls


def absorption(size, rng):
    weight = rng.standard_normal((size.n, 64), dtype=np.float32)
    kept = np.arange(size.p)
    scaling = scaling_matrix(weight, kept, threshold=-1)
    reader = rng.standard_normal((size.d, size.n), dtype=np.float32)
    Z = scaling.Z.astype(np.float32)
    return {
        "product with dense Z": lambda: reader @ Z.T,
        "nmcore absorb": lambda: absorb(reader, scaling),
        "copy of the kept columns": lambda: reader[:, kept],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--width", type=int, action="append", help="for error selection; repeatable"
    )
    parser.add_argument("--size", default="4096x4096,2048", metavar="NxD,P")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rng, threads = np.random.default_rng(options.seed), thread_count(options.threads)
    size, kernels = bench.Size.parse(options.size), ("numpy", "numba")
    groups = {
        f"error selection, {width} to {width // 2}": elimination(width, kernels, rng, threads)
        for width in options.width or [512, 2048]
    }
    groups[f"criteria, {size}"] = selection(size, kernels, rng, threads)
    groups[f"absorbing a merge, {size.d} outputs, {size.n} to {size.p}"] = absorption(size, rng)
    results = {}
    for title, calls in groups.items():
        results[title] = take_turns(calls, options.repeats, threads)
        first = next(iter(results[title].values()))
        table = Table(title=title)
        table.add_column("what")
        table.add_column("median ms", justify="right")
        table.add_column("times the first", justify="right")
        for name, seconds in results[title].items():
            table.add_row(name, f"{1e3 * seconds:.1f}", f"{seconds / first:.2f}")
        Console().print(table)
    print(bench.machine(threads))
    if options.json:
        options.json.write_text(json.dumps({"machine": bench.machine(threads), "seconds": results}))


if __name__ == "__main__":
    main()
