"""The kernels beside what a user would pick instead: time, memory, and whether the answer is right.

All contenders take turns within one run, so that whatever else the machine does hits all alike, and
so does this machine's own matrix product, against which they are measured. Every answer is checked
against float64 cosines; a wrong one ends the benchmark.
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nmcore.errors import ArgumentError
from nmcore.group import FloatArray, IntArray
from nmcore.kernels.peers import PEERS, Find, Peer

if TYPE_CHECKING:
    from rich.table import Table

# N x D, P: from a layer of a small network to the feed-forward layer of a language model.
SIZES = ("512x4608,256", "2048x512,1024", "4096x4096,2048", "14336x4096,7168")
OURS = "nmcore"
_PACKAGES = ("numpy", "numba", "scikit-learn", "scipy", "torch", "faiss-cpu", "onnxruntime-gpu")
# float32 rounding of unit rows of a few thousand entries, generously; a wrong row is far worse.
_FLOAT32_ERROR = 1e-4
_FLOAT64_ERROR = 1e-12


class WrongAnswerError(Exception):
    """A contender returned a row that is not the most similar one: its time means nothing."""


@dataclass(frozen=True)
class Size:
    """N rows of length D, of which P are kept."""

    n: int
    d: int
    p: int

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read ``NxD,P``.

        Raises
        ------
        ArgumentError
            If the text is of another form, or P is not below N.

        Examples
        --------
        >>> Size.parse("512x4608,256")
        Size(n=512, d=4608, p=256)
        >>> Size.parse("512")
        Traceback (most recent call last):
        nmcore.errors.ArgumentError: size: got '512'; need NxD,P with P below N, like 512x4608,256
        """
        try:
            shape, kept = text.split(",")
            n, d = shape.split("x")
            size = cls(int(n), int(d), int(kept))
        except ValueError:
            size = cls(0, 0, 0)
        if not (0 < size.p < size.n and size.d > 0):
            raise ArgumentError(f"size: got {text!r}; need NxD,P with P below N, like 512x4608,256")
        if 4 * size.n * size.d > (memory := _memory()):
            raise ArgumentError(
                f"size: the weights of {text} need more than the {memory:,.0f} bytes here"
            )
        return size

    def __str__(self) -> str:
        return f"{self.n} x {self.d}, {self.p}"

    @property
    def flops(self) -> float:
        """Floating-point operations of the needed products: removed times kept."""
        return 2.0 * (self.n - self.p) * self.p * self.d


def _memory() -> float:
    """The bytes of memory of this machine; infinitely many where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):  # Windows has no sysconf
        return math.inf


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
    gflops : float
        Needed operations a second, in units of 10**9; whatever else it computes does not count.
    sgemm_share : float
        The median over the turns of this contender's rate divided by that of the machine's own
        matrix product of the same shape in the same turn.
    peak_mb : float or None
        By how much the process grew at its peak, in 10**6 bytes.
    timed_rows : int
        How many removed rows were timed; where it is fewer than there are, the time is scaled up.
    """

    size: str
    name: str
    ours: bool
    seconds: float
    gflops: float
    sgemm_share: float
    peak_mb: float | None
    timed_rows: int


@dataclass(frozen=True, eq=False)
class _Problem:
    """A weight, which rows stay, and the right answers."""

    weight: NDArray[np.float32]
    kept: IntArray
    removed: IntArray

    @classmethod
    def random(cls, size: Size, seed: int) -> _Problem:
        rng = np.random.default_rng(seed)
        weight = rng.standard_normal((size.n, size.d), dtype=np.float32)
        kept = np.sort(rng.permutation(size.n)[: size.p])
        return cls(weight, kept, np.delete(np.arange(size.n), kept))


def run_kernels(
    sizes: Sequence[str] = SIZES,
    peers: Sequence[str] | None = None,
    repeats: int = 5,
    seed: int = 0,
    threads: int | None = None,
    *,
    kernels: Sequence[str] | None = None,
    memory: bool = True,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Time every kernel and every peer on every size, and check what they return.

    Parameters
    ----------
    sizes : sequence of str
        ``NxD,P``: N rows of length D, P of them kept.
    peers : sequence of str or None
        Names from :data:`nmcore.kernels.peers.PEERS`; None takes those that are installed.
    repeats : int
        Timed turns, after one that is not timed.
    seed : int
        Of the random weights.
    threads : int or None
        As in :func:`nmcore.scaling_matrix`; every contender gets the same number.
    kernels : sequence of str or None
        nmcore's kernels; None takes all that can be loaded.
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
        If a size or a name is not known.

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
    contenders = _contenders(_kernels(kernels), _peers(peers))
    rows: list[Row] = []
    for size in map(Size.parse, sizes):
        if progress is not None:
            progress(f"timing {size}")
        rows += _run_size(size, contenders, max(1, repeats), seed, count, memory)
    return {
        "machine": machine(count),
        "repeats": repeats,
        "seed": seed,
        "rows": [asdict(row) for row in rows],
    }


def _kernels(names: Sequence[str] | None) -> list[str]:
    """Return the kernels that load; those asked for by name must."""
    from nmcore.kernels import get_kernel, kernel_names

    if names is not None:
        return [get_kernel(name).NAME for name in names]
    found = []
    for name in kernel_names():
        try:
            found.append(get_kernel(name).NAME)
        except ArgumentError:
            continue
    return found


def _peers(names: Sequence[str] | None) -> dict[str, Peer]:
    if names is None:
        return {name: peer for name, peer in PEERS.items() if peer.installed}
    for name in names:
        if name not in PEERS:
            raise ArgumentError(f"peers: got {name!r}; need one of {', '.join(PEERS)}")
        if not PEERS[name].installed:
            raise ArgumentError(
                f"peers: {name!r} needs {PEERS[name].needs}, which is not installed"
            )
    return {name: PEERS[name] for name in names}


def _contenders(kernels: Iterable[str], peers: Mapping[str, Peer]) -> dict[str, Peer]:
    return {f"{OURS} {name}": Peer(_kernel_find(name)) for name in kernels} | dict(peers)


def _kernel_find(name: str) -> Find:
    """Return the public call with one kernel, in the form of a peer."""

    def find(weight: FloatArray, kept: IntArray, removed: IntArray, threads: int) -> IntArray:
        from nmcore.scaling import scaling_matrix

        scaling = scaling_matrix(weight, kept, threshold=-1, kernel=name, threads=threads)
        assert scaling.assignment is not None
        return scaling.assignment[removed]

    return find


def _run_size(
    size: Size,
    contenders: Mapping[str, Peer],
    repeats: int,
    seed: int,
    threads: int,
    memory: bool,
) -> list[Row]:
    from nmcore.kernels.threads import blas_threads

    problem = _Problem.random(size, seed)
    best = _best_cosines(problem)
    rows = {name: _rows_to_time(size, peer) for name, peer in contenders.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    product, sgemm = _sgemm(size, seed), []
    with blas_threads(threads):
        for turn in range(repeats + 1):  # the first one warms up
            sgemm.append(_seconds(product)[0])
            for name, peer in contenders.items():
                some = problem.removed[: rows[name]]
                took, found = _seconds(
                    lambda find=peer.find, some=some: find(  # type: ignore[misc]
                        problem.weight, problem.kept, some, threads
                    )
                )
                seconds[name].append(took * len(problem.removed) / len(some))
                if turn in (0, repeats):
                    check_answer(name, problem.weight, problem.kept, some, found, best)
    result = [_row(size, "sgemm of this machine", sgemm, sgemm, None, len(problem.removed))]
    for name in contenders:
        peak = _peak_memory(size, name, seed, threads) if memory else None
        result.append(_row(size, name, seconds[name], sgemm, peak, rows[name]))
    return result


def _rows_to_time(size: Size, peer: Peer) -> int:
    removed = size.n - size.p
    # nmcore takes `kept` alone and so always does all the rows.
    return removed if peer.pairs is None else min(removed, max(1, peer.pairs // size.p))


def _row(
    size: Size,
    name: str,
    seconds: Sequence[float],
    sgemm: Sequence[float],
    peak: float | None,
    timed_rows: int,
) -> Row:
    timed, product = seconds[1:], sgemm[1:]
    median = statistics.median(timed)
    share = statistics.median(b / a for a, b in zip(timed, product, strict=True))
    ours = name.startswith(f"{OURS} ")
    return Row(str(size), name, ours, median, size.flops / median / 1e9, share, peak, timed_rows)


def _sgemm(size: Size, seed: int) -> Callable[[], object]:
    """Return this machine's float32 product of just the needed shape, on ready arrays."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((size.n - size.p, size.d), dtype=np.float32)
    b = rng.standard_normal((size.p, size.d), dtype=np.float32)
    out = np.empty((len(a), len(b)), dtype=np.float32)
    return lambda: np.dot(a, b.T, out=out)


def _seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def _best_cosines(problem: _Problem) -> NDArray[np.float64]:
    """Return the greatest float64 cosine of every removed row, by plain products in blocks."""
    kept = _unit(problem.weight[problem.kept])
    best = np.empty(len(problem.removed))
    for start in range(0, len(best), 512):
        part = slice(start, start + 512)
        best[part] = (_unit(problem.weight[problem.removed[part]]) @ kept.T).max(axis=1)
    return best


def _unit(rows: FloatArray) -> NDArray[np.float64]:
    wide = rows.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    return wide


def check_answer(
    name: str,
    weight: FloatArray,
    kept: IntArray,
    removed: IntArray,
    found: IntArray,
    best: NDArray[np.float64],
) -> None:
    """Raise unless every removed row's choice has the greatest cosine.

    Peers may miss it by what float32 rounding does; nmcore's own kernels may not.

    Parameters
    ----------
    name : str
        Who answered.
    weight, kept, removed : arrays, shapes (N, D), (P,), (R,)
        What was asked.
    found : int array, shape (R,)
        Positions in `kept`.
    best : float64 array, shape (at least R,)
        The greatest cosines.

    Raises
    ------
    WrongAnswerError
        It names the first wrong row.

    Examples
    --------
    >>> weight = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.1]])
    >>> best = np.array([1.0])
    >>> check_answer("liar", weight, np.array([0, 1]), np.array([2]), np.array([1]), best)
    Traceback (most recent call last):
    nmcore.bench.WrongAnswerError: liar: channel 2 was matched with kept position 1, cosine ...
    """
    if found.shape != removed.shape or found.min() < 0 or found.max() >= len(kept):
        raise WrongAnswerError(f"{name}: returned no kept position for every removed channel")
    allowed = _FLOAT64_ERROR if name.startswith(f"{OURS} ") else _FLOAT32_ERROR
    for start in range(0, len(removed), 512):
        part = slice(start, start + 512)
        a, b = _unit(weight[removed[part]]), _unit(weight[kept[found[part]]])
        cosine = np.einsum("kd,kd->k", a, b)
        (wrong,) = np.nonzero(cosine < best[part][: len(cosine)] - allowed)
        if len(wrong):
            at = start + wrong[0]
            raise WrongAnswerError(
                f"{name}: channel {removed[at]} was matched with kept position {found[at]}, cosine "
                f"{cosine[wrong[0]]:.6g}, where {best[at]:.6g} is to be had"
            )


def _peak_memory(size: Size, name: str, seed: int, threads: int) -> float | None:
    """Run a contender once in a new process and return how much that grew, in 10**6 bytes."""
    call = {"n": size.n, "d": size.d, "p": size.p, "name": name, "seed": seed, "threads": threads}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import nmcore.bench as b, sys; b._probe(sys.argv[1])",
            json.dumps(call),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    return float(done.stdout.split()[-1]) if done.returncode == 0 and done.stdout else None


def _probe(call: str) -> None:
    """Print how much this process grows while a contender runs; called in a new process."""
    options = json.loads(call)
    name = options["name"]
    ours = name.startswith(f"{OURS} ")
    peer = _contenders([name.split(" ", 1)[1]], {})[name] if ours else PEERS[name]
    size = Size(options["n"], options["d"], options["p"])
    small = _Problem.random(Size(64, size.d, 32), 0)
    # Loads the libraries and compiles what is compiled, neither of which is the problem's doing.
    peer.find(small.weight, small.kept, small.removed, options["threads"])
    problem = _Problem.random(size, options["seed"])
    some = problem.removed[: _rows_to_time(size, peer)]
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


def machine(threads: int) -> dict[str, Any]:
    """Return what the figures depend on: processor, threads, load, and the versions at hand.

    Examples
    --------
    >>> machine(2)["threads"]
    2
    """
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "threads": threads,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "versions": versions,
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def tables(result: Mapping[str, Any]) -> list[Table]:
    """Return one table a size, for a terminal.

    Examples
    --------
    >>> result = run_kernels(["20x8,10"], [], repeats=1, kernels=["numpy"], memory=False)
    >>> [table.title for table in tables(result)]
    ['20 x 8, 10']
    """
    from rich.table import Table

    found = []
    for size in dict.fromkeys(row["size"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["size"] == size]
        table = Table(title=size)
        table.add_column("contender", no_wrap=True)
        for heading in ("median ms", "GFLOP/s", "of sgemm", "peak MB", "times our best"):
            table.add_column(heading, justify="right")
        ours = min((row["seconds"] for row in rows if row["ours"]), default=None)
        for row in sorted(rows, key=lambda row: float(row["seconds"])):
            table.add_row(*_cells(row, ours, size))
        found.append(table)
    return found


def _cells(row: Mapping[str, Any], ours: float | None, size: str) -> list[str]:
    whole = Size.parse(size.replace(" ", ""))
    partial = row["timed_rows"] < whole.n - whole.p
    peak = row["peak_mb"]
    return [
        row["name"] + (f" ({row['timed_rows']} rows timed)" if partial else ""),
        f"{1e3 * row['seconds']:.1f}",
        f"{row['gflops']:.1f}",
        f"{row['sgemm_share']:.3f}",
        "-" if peak is None else f"{peak:.0f}" + ("*" if partial else ""),
        "-" if ours is None else f"{row['seconds'] / ours:.2f}",
    ]


def plot(result: Mapping[str, Any], path: Path) -> None:
    """Draw every contender's rate, as a share of sgemm's, into a picture file.

    Raises
    ------
    ArgumentError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ArgumentError("plot: needs matplotlib; install nmcore[report]") from error
    sizes = list(dict.fromkeys(row["size"] for row in result["rows"]))
    figure = Figure(figsize=(9, 2.2 * len(sizes)), layout="constrained")
    for axes, size in zip(figure.subplots(len(sizes), 1, squeeze=False)[:, 0], sizes, strict=True):
        rows = [row for row in result["rows"] if row["size"] == size]
        rows.sort(key=lambda row: float(row["sgemm_share"]))
        colours = ["tab:blue" if row["ours"] else "tab:grey" for row in rows]
        axes.barh(
            [row["name"] for row in rows], [row["sgemm_share"] for row in rows], color=colours
        )
        axes.set_title(size)
        axes.set_xlabel("share of this machine's sgemm rate")
    figure.savefig(path)
