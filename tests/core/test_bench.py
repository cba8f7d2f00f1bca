"""The benchmark measures what it says, and cannot flatter."""

import json

import numpy as np
import pytest

from nmcore import bench, kernels
from nmcore.errors import ArgumentError
from nmcore.kernels import numpy_
from nmcore.kernels.peers import PEERS, Peer

SMALL = ["60x24,30"]


def test_rows_hold_every_contender_and_can_be_written():
    result = bench.run_kernels(SMALL, repeats=2, kernels=["numpy", "numba"], memory=False)
    names = [row["name"] for row in result["rows"]]
    installed = [name for name, peer in PEERS.items() if peer.installed]
    assert names == ["sgemm of this machine", "nmcore numpy", "nmcore numba", *installed]
    assert json.loads(json.dumps(result)) == result
    for row in result["rows"]:
        flops = 2 * 30 * 30 * 24
        assert row["gflops"] == pytest.approx(flops / row["seconds"] / 1e9)
        assert row["timed_rows"] == 30
        assert row["sgemm_share"] > 0
    assert result["rows"][0]["sgemm_share"] == 1


def lying_find(weight, kept, removed, threads):
    right = PEERS["numpy matmul + argmax"].find(weight, kept, removed, threads)
    right[7] = (right[7] + 1) % len(kept)
    return right


def test_a_lying_peer_ends_the_benchmark(monkeypatch):
    monkeypatch.setitem(PEERS, "liar", Peer(lying_find))
    with pytest.raises(bench.WrongAnswerError, match=r"liar: channel .* where .* is to be had"):
        bench.run_kernels(SMALL, ["liar"], repeats=1, kernels=[], memory=False)


class Liar:
    """A kernel that leaves the best target of one row off its list."""

    NAME = "liar"
    unit_rows = staticmethod(numpy_.unit_rows)
    compare = staticmethod(numpy_.compare)

    @staticmethod
    def shortlist(queries, targets, bias, margin, pool):
        found = numpy_.shortlist(queries, targets, bias, margin, pool)
        found.column[5] = (found.column[5] + 1) % len(targets[0])
        return found


def test_a_lying_kernel_ends_the_benchmark(monkeypatch):
    honest = kernels._load
    monkeypatch.setattr(kernels, "_load", lambda name: Liar if name == "liar" else honest(name))
    with pytest.raises(bench.WrongAnswerError, match="nmcore liar: channel"):
        bench.run_kernels(SMALL, [], repeats=1, kernels=["liar"], memory=False)


@pytest.mark.parametrize("answer", [np.full(30, -1), np.full(30, 30), np.zeros(29, dtype=int)])
def test_answers_of_no_use_end_the_benchmark(monkeypatch, answer):
    monkeypatch.setitem(PEERS, "liar", Peer(lambda *_: answer))
    with pytest.raises(bench.WrongAnswerError, match="liar: returned no kept position"):
        bench.run_kernels(SMALL, ["liar"], repeats=1, kernels=[], memory=False)


def test_slow_peers_are_timed_on_some_rows_and_say_so(monkeypatch):
    monkeypatch.setitem(PEERS, "slow", Peer(PEERS["double loop"].find, pairs=100))
    result = bench.run_kernels(SMALL, ["slow"], repeats=1, kernels=[], memory=False)
    assert result["rows"][1]["timed_rows"] == 3
    (table,) = bench.tables(result)
    assert "slow (3 rows timed)" in list(table.columns[0].cells)


def test_peak_memory_is_that_of_the_contender(monkeypatch):
    """A product of 2000 x 2000 float32 numbers is held whole by NumPy."""
    size = bench.Size(4000, 16, 2000)
    peak = bench._peak_memory(size, "numpy matmul + argmax", 0, 1)
    assert peak is not None
    assert 15 < peak < 40


def test_unknown_names():
    with pytest.raises(ArgumentError, match="peers: got 'abacus'; need one of double loop"):
        bench.run_kernels(SMALL, ["abacus"])
    with pytest.raises(ArgumentError, match="kernel: got 'abacus'"):
        bench.run_kernels(SMALL, [], kernels=["abacus"])
    for size in ("10", "10x10", "10x10,10", "axb,c", "10x0,5"):
        with pytest.raises(ArgumentError, match="size: got"):
            bench.Size.parse(size)


def test_plot(tmp_path):
    pytest.importorskip("matplotlib")
    result = bench.run_kernels(SMALL, [], repeats=1, kernels=["numpy"], memory=False)
    bench.plot(result, tmp_path / "rates.png")
    assert (tmp_path / "rates.png").stat().st_size > 1000


def test_sizes_beyond_the_machine_are_refused():
    with pytest.raises(ArgumentError, match=r"need more than the [0-9,]+ bytes here"):
        bench.Size.parse("10000000x10000000,5")
