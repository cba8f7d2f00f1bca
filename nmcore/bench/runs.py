"""The run: contenders in turn, their times against the machine's own matrix product."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from nmcore.bench.answers import best_cosines, check_answer
from nmcore.bench.baselines import Peer
from nmcore.bench.contenders import contenders, is_ours, rows_to_time
from nmcore.bench.machine import machine
from nmcore.bench.memory import peak_memory
from nmcore.bench.problems import SIZES, Problem, Size
from nmcore.bench.turns import take_turns
from nmcore.group import IntArray

SGEMM = "sgemm of this machine"


@dataclass(frozen=True)
class Row:
    """One contender on one size.

    Attributes
    ----------
    size, name : str
        What ran on what.
    ours : bool
        Whether it is one of nmcore's kernels.
    seconds : float
        The median of the timed turns.
    fastest, slowest : float
        The least and the most seconds of a turn.
    gflops : float
        Needed operations a second, in units of 10**9; whatever else it computes does not count.
    sgemm_share : float
        The median over the turns of this contender's rate divided by that of the machine's own
        matrix product of the same shape in the same turn.
    peak_mb : float or None
        By how much the process grew at its peak, in 10**6 bytes.
    timed_rows : int
        How many removed rows were timed.
    scaled_up : bool
        Whether that is fewer than there are, and the time multiplied; memory is not.
    """

    size: str
    name: str
    ours: bool
    seconds: float
    fastest: float
    slowest: float
    gflops: float
    sgemm_share: float
    peak_mb: float | None
    timed_rows: int
    scaled_up: bool


def run_kernels(
    sizes: Sequence[str] = SIZES,
    peers: Sequence[str] | None = None,
    repeats: int = 5,
    seed: int = 0,
    threads: int | None = None,
    *,
    kernels: Sequence[str] | None = None,
    libraries: Mapping[str, Peer] | None = None,
    memory: bool = True,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Time every kernel and every peer on every size, and check what they return.

    Parameters
    ----------
    sizes : sequence of str
        ``NxD,P``: N rows of length D, P of them kept.
    peers : sequence of str or None
        Names from :data:`nmcore.bench.BASELINES` and ``libraries``; None takes them all.
    repeats : int
        Timed turns, after one that is not timed.
    seed : int
        Of the random weights.
    threads : int or None
        As in :func:`nmcore.scaling_matrix`; every contender gets the same number.
    kernels : sequence of str or None
        nmcore's kernels; None takes all that can be loaded.
    libraries : mapping of str to Peer or None
        Peers besides the baselines, by name, such as other libraries' searches.
    memory : bool
        Whether to measure the peak of each contender's memory, in a process of its own.
    progress : callable or None
        Called with a line before each step.

    Returns
    -------
    dict
        ``machine`` (dict), ``repeats``, ``seed``, and ``rows`` (a list of dicts with the fields of
        :class:`Row`); it can be written as JSON.

    Raises
    ------
    WrongAnswerError
        If any contender returns a row that is not the most similar one.
    ArgumentError
        If a size or a name is not known, or the memory of a library's function cannot be measured.

    Examples
    --------
    >>> result = run_kernels(
    ...     ["20x8,10"], ["double loop"], repeats=1, kernels=["numpy"], memory=False
    ... )
    >>> [row["name"] for row in result["rows"]]
    ['sgemm of this machine', 'nmcore numpy', 'double loop']
    """
    from nmcore.kernels.threads import thread_count

    count = thread_count(threads)
    taking_part = contenders(kernels, peers, libraries)
    packages = [peer.package for peer in taking_part.values() if peer.package]
    rows: list[Row] = []
    for size in map(Size.parse, sizes):
        if progress is not None:
            progress(f"timing {size}")
        rows += _run_size(size, taking_part, max(1, repeats), seed, count, memory)
    return {
        "machine": machine(count, packages),
        "repeats": repeats,
        "seed": seed,
        "rows": [asdict(row) for row in rows],
    }


def _run_size(
    size: Size,
    peers: Mapping[str, Peer],
    repeats: int,
    seed: int,
    threads: int,
    memory: bool,
) -> list[Row]:
    problem = Problem.random(size, seed)
    weight, kept, removed = problem.weight, problem.kept, problem.removed
    best = best_cosines(problem)
    some = {name: removed[: rows_to_time(size, peer)] for name, peer in peers.items()}
    calls = {
        name: partial(peer.find, weight, kept, some[name], threads) for name, peer in peers.items()
    }

    def check(name: str, found: IntArray) -> None:
        if name != SGEMM:
            check_answer(name, weight, kept, some[name], found, best)

    seconds = take_turns({SGEMM: _sgemm(size, seed), **calls}, repeats, threads, check)
    product = seconds.pop(SGEMM)
    result = [_row(size, SGEMM, product, product, None, len(removed))]
    for name, taken in seconds.items():
        timed = len(some[name])
        whole = [each * len(removed) / timed for each in taken]
        peak = peak_memory(size, peers[name], seed, threads) if memory else None
        result.append(_row(size, name, whole, product, peak, timed))
    return result


def _row(
    size: Size,
    name: str,
    seconds: Sequence[float],
    product: Sequence[float],
    peak: float | None,
    timed_rows: int,
) -> Row:
    median = statistics.median(seconds)
    share = statistics.median(b / a for a, b in zip(seconds, product, strict=True))
    rate = size.flops / median / 1e9
    scaled_up = timed_rows < size.n - size.p
    return Row(
        size=str(size),
        name=name,
        ours=is_ours(name),
        seconds=median,
        fastest=min(seconds),
        slowest=max(seconds),
        gflops=rate,
        sgemm_share=share,
        peak_mb=peak,
        timed_rows=timed_rows,
        scaled_up=scaled_up,
    )


def _sgemm(size: Size, seed: int) -> Callable[[], object]:
    """Return this machine's float32 product of just the needed shape, on ready arrays."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((size.n - size.p, size.d), dtype=np.float32)
    b = rng.standard_normal((size.p, size.d), dtype=np.float32)
    out = np.empty((len(a), len(b)), dtype=np.float32)
    return lambda: np.dot(a, b.T, out=out)
