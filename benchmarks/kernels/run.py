"""MostSim: every kernel, the plain baselines and every installed library, side by side.

OMP_NUM_THREADS=2 NUMBA_NUM_THREADS=2 taskset -c 0,1 python benchmarks/kernels/run.py
"""

import argparse
import json
import sys
from pathlib import Path

import peers
from rich.console import Console

from nmcore import bench
from nmcore.utils.files import atomic_write


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", action="append", metavar="NxD,P", help="repeatable")
    parser.add_argument("--peer", action="append", help="repeatable; default: all installed")
    parser.add_argument("--kernel", action="append", help="repeatable; default: all installed")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    libraries = peers.installed()
    for name in options.peer or ():
        if name in peers.LIBRARIES and name not in libraries:
            parser.error(f"{name} is not installed")
    result = bench.run_kernels(
        options.size or bench.SIZES,
        options.peer,
        options.repeats,
        options.seed,
        options.threads,
        kernels=options.kernel,
        libraries=libraries,
        memory=not options.no_memory,
        progress=lambda line: print(line, file=sys.stderr),
    )
    console = Console()
    for table in bench.tables(result):
        console.print(table)
    for line in bench.legend(result):
        console.print(line, highlight=False)
    if options.json:
        atomic_write(options.json, (json.dumps(result, indent=1) + "\n").encode())
    if options.plot:
        bench.plot(result, options.plot)


if __name__ == "__main__":
    main()
