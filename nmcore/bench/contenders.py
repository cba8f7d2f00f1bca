"""Who takes part: nmcore's kernels, each through the public call, and the peers."""

from __future__ import annotations

from collections.abc import Sequence

from nmcore.bench.peers import PEERS, Find, Peer
from nmcore.bench.problems import Size
from nmcore.errors import ArgumentError
from nmcore.group import FloatArray, IntArray

OURS = "nmcore "


def contenders(
    kernels: Sequence[str] | None = None, peers: Sequence[str] | None = None
) -> dict[str, Peer]:
    """Return who takes part, by name: kernels first.

    Parameters
    ----------
    kernels : sequence of str or None
        nmcore's; None takes all that can be loaded.
    peers : sequence of str or None
        Names from :data:`nmcore.bench.peers.PEERS`; None takes those that are installed.

    Raises
    ------
    ArgumentError
        If a name is not known, or what it needs is not installed.

    Examples
    --------
    >>> list(contenders(["numpy"], ["double loop"]))
    ['nmcore numpy', 'double loop']
    """
    names = [*(OURS + name for name in _kernels(kernels)), *_peers(peers)]
    return {name: named(name) for name in names}


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


def _peers(names: Sequence[str] | None) -> Sequence[str]:
    """Return the peers that are installed; those asked for by name must be."""
    if names is None:
        return [name for name, peer in PEERS.items() if peer.installed]
    for name in names:
        if name not in PEERS:
            raise ArgumentError(f"peers: got {name!r}; need one of {', '.join(PEERS)}")
        if not PEERS[name].installed:
            raise ArgumentError(
                f"peers: {name!r} needs {PEERS[name].needs}, which is not installed"
            )
    return names


def named(name: str) -> Peer:
    """Return the contender of that name, which is a peer's or ``nmcore KERNEL``."""
    return Peer(_kernel_find(name.removeprefix(OURS))) if is_ours(name) else PEERS[name]


def is_ours(name: str) -> bool:
    """Whether a contender is one of nmcore's kernels."""
    return name.startswith(OURS)


def rows_to_time(size: Size, peer: Peer) -> int:
    """How many removed rows a contender is timed on."""
    removed = size.n - size.p
    # nmcore takes `kept` alone and so always does all the rows.
    return removed if peer.pairs is None else min(removed, max(1, peer.pairs // size.p))


def _kernel_find(name: str) -> Find:
    """Return the public call with one kernel, in the form of a peer."""

    def find(weight: FloatArray, kept: IntArray, removed: IntArray, threads: int) -> IntArray:
        from nmcore.arrays.scaling import scaling_matrix

        scaling = scaling_matrix(weight, kept, threshold=-1, kernel=name, threads=threads)
        assert scaling.assignment is not None
        return scaling.assignment[removed]

    return find
