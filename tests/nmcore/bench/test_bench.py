"""The benchmark measures what it says, and cannot flatter."""

import importlib
import json
import re
import sys

import numpy as np
import pytest

from nmcore import bench, kernels
from nmcore.bench import BASELINES, Peer, turns
from nmcore.bench.contenders import contenders
from nmcore.bench.memory import peak_memory
from nmcore.errors import ArgumentError

SMALL = ["60x24,30"]


@pytest.fixture(autouse=True)
def no_rest(monkeypatch):
    """Nobody reads the times of these runs."""
    monkeypatch.setattr(turns, "_REST", 0)
    monkeypatch.setattr(turns, "_LEAST", 0)
    monkeypatch.setattr(turns, "_CALLS", 1)


def test_rows_hold_every_contender_and_can_be_written():
    result = bench.run_kernels(SMALL, repeats=2, kernels=["numpy", "numba"], memory=False)
    names = [row["name"] for row in result["rows"]]
    assert names == ["sgemm of this machine", "nmcore numpy", "nmcore numba", *BASELINES]
    assert json.loads(json.dumps(result)) == result
    for row in result["rows"]:
        flops = 2 * 30 * 30 * 24
        assert row["gflops"] == pytest.approx(flops / row["seconds"] / 1e9)
        assert row["timed_rows"] == 30
        assert not row["scaled_up"]
        assert row["sgemm_share"] > 0
    assert result["rows"][0]["sgemm_share"] == 1


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("row", [0, 7, 29])
def test_a_peer_with_one_wrong_index_ends_the_benchmark(name, row):
    honest = BASELINES[name]

    def find(weight, kept, removed, threads):
        found = honest.find(weight, kept, removed, threads).copy()
        found[row] = (found[row] + 1) % len(kept)
        return found

    lying = {name: honest._replace(find=find)}
    with pytest.raises(bench.WrongAnswerError, match=re.escape(name) + ": channel .* is to be had"):
        bench.run_kernels(SMALL, [name], repeats=1, kernels=[], libraries=lying, memory=False)


@pytest.mark.parametrize("name", ["numpy", "numba", "ort"])
@pytest.mark.parametrize("row", [0, 7, 29])
def test_a_kernel_with_one_wrong_index_ends_the_benchmark(monkeypatch, name, row):
    """It leaves the best target of one row off its list."""
    if name not in kernels.kernel_names():
        pytest.skip("the onnxruntime plugin is not installed")
    module = kernels.get_kernel(name)
    honest = module.shortlist

    def shortlist(queries, targets, bias, margin, pool):
        found = honest(queries, targets, bias, margin, pool)
        found.column[row] = (found.column[row] + 1) % len(targets[0])
        return found

    monkeypatch.setattr(module, "shortlist", shortlist)
    with pytest.raises(bench.WrongAnswerError, match=f"nmcore {name}: channel"):
        bench.run_kernels(SMALL, [], repeats=1, kernels=[name], memory=False)


def test_a_contender_that_is_right_at_first_only_ends_the_benchmark():
    calls = []

    def find(weight, kept, removed, threads):
        calls.append(1)
        right = BASELINES["numpy matmul + argmax"].find(weight, kept, removed, threads)
        return right if len(calls) < 3 else np.zeros_like(right)

    liar = {"liar": Peer(find)}
    with pytest.raises(bench.WrongAnswerError, match="liar: channel"):
        bench.run_kernels(SMALL, ["liar"], repeats=2, kernels=[], libraries=liar, memory=False)
    assert len(calls) == 3


@pytest.mark.parametrize("answer", [np.full(30, -1), np.full(30, 30), np.zeros(29, dtype=int)])
def test_answers_of_no_use_end_the_benchmark(answer):
    liar = {"liar": Peer(lambda *_: answer)}
    with pytest.raises(bench.WrongAnswerError, match="liar: returned no kept position"):
        bench.run_kernels(SMALL, ["liar"], repeats=1, kernels=[], libraries=liar, memory=False)


def test_slow_peers_are_timed_on_some_rows_and_say_so():
    slow = {"slow": BASELINES["double loop"]._replace(pairs=100)}
    result = bench.run_kernels(SMALL, ["slow"], repeats=1, kernels=[], libraries=slow, memory=False)
    assert result["rows"][1]["timed_rows"] == 3
    (table,) = bench.tables(result)
    assert result["rows"][1]["scaled_up"]
    assert "slow*" in list(table.columns[0].cells)
    assert bench.legend(result)[0].startswith("* timed on some of the rows")


def test_peak_memory_is_that_of_the_contender():
    """A product of 2000 x 2000 float32 numbers is held whole by NumPy."""
    size = bench.Size(4000, 16, 2000)
    peak = peak_memory(size, BASELINES["numpy matmul + argmax"], 0, 1)
    assert peak is not None
    assert 15 < peak < 40


def test_peak_memory_is_a_block_whatever_the_kept_rows():
    """All cosines together would be 400 MB; the unit rows of the kept ones are 1.3 MB."""
    (ours,) = contenders(["numpy"], []).values()
    peak = peak_memory(bench.Size(20_000, 16, 10_000), ours, 0, 2)
    assert peak is not None
    assert peak < 120


def test_peak_memory_of_what_fails_is_not_told():
    failing = Peer(np.linalg.norm)  # takes other arguments
    assert peak_memory(bench.Size(40, 8, 20), failing, 0, 1) is None


def test_peak_memory_of_a_function_beside_the_program(tmp_path, monkeypatch):
    """The new process finds modules where this one does."""
    text = "import numpy as np\ndef find(weight, kept, removed, threads):\n"
    text += "    return np.ones(10**6 * len(removed))[: len(removed)].astype(int)\n"
    (tmp_path / "neighbour.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    peer = Peer(importlib.import_module("neighbour").find)
    peak = peak_memory(bench.Size(100, 8, 50), peer, 0, 1)  # the warm-up has 32 rows, this 50
    monkeypatch.delitem(sys.modules, "neighbour")
    assert peak is not None
    assert 100 < peak < 250


def test_peak_memory_needs_a_function_of_a_module():
    local = Peer(lambda weight, kept, removed, threads: np.zeros(30, int))
    with pytest.raises(ArgumentError, match=r"memory: .* need a function of a module"):
        peak_memory(bench.Size(40, 8, 20), local, 0, 1)


def test_versions_of_what_takes_part_are_told():
    honest = {"with click": BASELINES["numpy matmul + argmax"]._replace(package="click")}
    result = bench.run_kernels(SMALL, repeats=1, kernels=[], libraries=honest, memory=False)
    assert "click" in result["machine"]["versions"]
    assert [row["name"] for row in result["rows"][1:]] == [*BASELINES, "with click"]


def test_tables_fit_an_ordinary_terminal():
    from rich.console import Console

    result = bench.run_kernels(SMALL, repeats=1, memory=False)
    for row in result["rows"]:  # figures as wide as they get
        row.update(seconds=31.0257, gflops=1234.5, sgemm_share=1.11, peak_mb=1234.5, scaled_up=True)
    console = Console(width=80, record=True, force_terminal=True)
    for table in bench.tables(result):
        console.print(table)
    text = console.export_text()
    assert all(f"{name}*" in text for name in BASELINES)
    assert "vs ours" in text
    assert "\u2026" not in text


def test_a_short_call_is_timed_several_times_in_a_turn(monkeypatch):
    monkeypatch.setattr(turns, "_LEAST", 0.01)
    calls, found = [], []
    seconds = turns.take_turns(
        {"short": lambda: calls.append(1)}, 2, 1, lambda *answer: found.append(answer)
    )
    assert len(calls) > 10
    assert len(seconds["short"]) == 2
    assert found == [("short", None)] * 2


def test_and_so_often_that_one_wait_does_not_count(monkeypatch):
    monkeypatch.setattr(turns, "_CALLS", 7)
    calls = []
    turns.take_turns({"short": lambda: calls.append(1)}, 1, 1, lambda *_: None)
    assert len(calls) == 2 * 7
    monkeypatch.setattr(turns, "_MOST", 0)
    turns.take_turns({"long": lambda: calls.append(1)}, 1, 1, lambda *_: None)
    assert len(calls) == 2 * 7 + 2


def test_turns_that_differ_are_told(monkeypatch):
    result = bench.run_kernels(SMALL, [], repeats=3, kernels=["numpy"], memory=False)
    for row in result["rows"]:
        assert row["fastest"] <= row["seconds"] <= row["slowest"]
        row.update(fastest=1.0, slowest=1.9)
    assert not any("uncertain" in line for line in bench.legend(result))
    result["rows"][1]["slowest"] = 2.1
    assert bench.legend(result)[-1].startswith("uncertain: turns of 1 of 2 rows differ")


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
    bench.plot(result, tmp_path / "rates.svg")
    first = (tmp_path / "rates.svg").read_bytes()
    bench.plot(result, tmp_path / "rates.svg")
    assert (tmp_path / "rates.svg").read_bytes() == first
    assert b"</svg>" in first


def test_sizes_beyond_the_machine_are_refused():
    with pytest.raises(ArgumentError, match=r"need more than the [0-9,]+ bytes here"):
        bench.Size.parse("10000000x10000000,5")
