"""Who takes part: nmcore's kernels, each through the public call, and their peers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from nmcore.bench.baselines import BASELINES, Peer
from nmcore.bench.problems import Size
from nmcore.errors import ArgumentError
from nmcore.group import FloatArray, IntArray

OURS = "nmcore "


def contenders(
    kernels: Sequence[str] | None = None,
    peers: Sequence[str] | None = None,
    libraries: Mapping[str, Peer] | None = None,
) -> dict[str, Peer]:
    """Return who takes part, by name: kernels first.

    Parameters
    ----------
    kernels : sequence of str or None
        nmcore's; None takes all that can be loaded.
    peers : sequence of str or None
        Names from :data:`nmcore.bench.BASELINES` and ``libraries``; None takes them all.
    libraries : mapping of str to Peer or None
        Peers besides the baselines.

    Raises
    ------
    ArgumentError
        If a name is not known, or what a kernel needs is not installed.

    Examples
    --------
    >>> list(contenders(["numpy"], ["double loop"]))
    ['nmcore numpy', 'double loop']
    """
    known = {**BASELINES, **(libraries or {})}
    for name in peers or ():
        if name not in known:
            raise ArgumentError(f"peers: got {name!r}; need one of {', '.join(known)}")
    ours = {OURS + name: Peer(partial(_with_kernel, name)) for name in _kernels(kernels)}
    return ours | {name: known[name] for name in (known if peers is None else peers)}


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


def is_ours(name: str) -> bool:
    """Whether a contender is one of nmcore's kernels."""
    return name.startswith(OURS)


def rows_to_time(size: Size, peer: Peer) -> int:
    """How many removed rows a contender is timed on."""
    removed = size.n - size.p
    # nmcore takes `kept` alone and so always does all the rows.
    return removed if peer.pairs is None else min(removed, max(1, peer.pairs // size.p))


def _with_kernel(
    kernel: str, weight: FloatArray, kept: IntArray, removed: IntArray, threads: int
) -> IntArray:
    """The public call with one kernel, in the form of a peer."""
    from nmcore.arrays.scaling import scaling_matrix

    scaling = scaling_matrix(weight, kept, threshold=-1, kernel=kernel, threads=threads)
    assert scaling.assignment is not None
    return scaling.assignment[removed]
