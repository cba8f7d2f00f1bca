"""The kernels beside what a user would write instead: time, memory, whether the answer is right.

All contenders take turns within one run, so that whatever else the machine does hits all alike, and
so does this machine's own matrix product, against which they are measured. Every answer is checked
against float64 cosines; a wrong one ends the benchmark.
"""

from nmcore.bench.answers import WrongAnswerError, check_answer
from nmcore.bench.baselines import BASELINES, Peer
from nmcore.bench.machine import machine
from nmcore.bench.picture import plot
from nmcore.bench.problems import SIZES, Size
from nmcore.bench.runs import run_kernels
from nmcore.bench.table import legend, tables

__all__ = [
    "BASELINES",
    "SIZES",
    "Peer",
    "Size",
    "WrongAnswerError",
    "check_answer",
    "legend",
    "machine",
    "plot",
    "run_kernels",
    "tables",
]
