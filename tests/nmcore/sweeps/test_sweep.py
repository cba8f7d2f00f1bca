"""Sweeps: every cell once, wherever it runs and however the sweep was stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import numpy as np
import onnx
import pytest

import nmcore
from nmcore.errors import ArgumentError, DataError, ModelError
from nmcore.evaluation.evaluate import evaluate
from nmcore.sweeps import cell as cells
from nmcore.sweeps import sweep
from nmcore.sweeps.records import Records
from nmcore.utils import executors
from nmcore.utils.locks import locked
from sessions import CAN_TELL, members, wait_until
from small import small_network

GRID = {"methods": ("prune", "merge"), "ratios": (0.25, 0.5), "providers": ("cpu",)}


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "data.npz"
    x = rng.standard_normal((20, 3, 8, 8)).astype(np.float32)
    np.savez(path, x=x, y=rng.integers(0, 10, 20))
    return path


@pytest.fixture
def runs(monkeypatch):
    """The cells that are run, in order."""
    seen = []

    def counted(cell):
        seen.append((cell.model.name, cell.key["method"], cell.key["share"]))
        return cells.run(cell)

    monkeypatch.setattr(sweep, "run", counted)
    return seen


def stopping(after):
    """A progress that is interrupted once so many cells are done."""

    def progress(_text, steps):
        for number, step in enumerate(steps):
            if number == after:
                raise KeyboardInterrupt
            yield step

    return progress


def saved(path):
    return json.loads(path.read_text())


# What a cell holds


def test_a_cell_is_a_compression_and_its_evaluation(model, data, tmp_path):
    (tmp_path / "out").mkdir()
    (record,) = nmcore.sweep(
        model, methods=["merge"], macs=[0.5], evaluate_data=data, out_dir=tmp_path / "out",
        scale=2, providers=("cpu",),
    )  # fmt: skip
    (written,) = (tmp_path / "out").iterdir()
    assert written.name == f"model-merge-macs0.5-{record.cell[:8]}.onnx"
    result = nmcore.compress(model, method="merge", macs=0.5)
    assert written.read_bytes() == result.graph.serialize()
    before, after = evaluate([model, written], data, scale=2, runs=1, providers=("cpu",))
    for name in ("params", "macs", "bytes"):
        assert getattr(record, name) == getattr(after, name)
        assert getattr(record, f"{name}_before") == getattr(before, name)
    assert (record.n, record.top1_before) == (20, before.top1)
    for name in ("top1", "agreement", "deviation"):
        assert getattr(record, name) == getattr(after, name)


def test_records_are_in_the_order_of_the_grid(model):
    records = nmcore.sweep(model, macs=[0.6], **GRID)
    assert [(r.method, r.budget, r.share) for r in records] == [
        (method, *size)
        for method in ("prune", "merge")
        for size in (("ratio", 0.25), ("ratio", 0.5), ("macs", 0.6))
    ]
    assert all(record.error is None for record in records)


def test_data_goes_to_the_methods_that_measure(model, data):
    prune, moments = nmcore.sweep(model, methods=["prune", "moments"], data=data)
    assert prune.error is None
    assert prune.key["data_sha256"] is None
    given = nmcore.compress(model, method="moments", data=data)
    assert moments.key["data_sha256"] == given.plan.data.sha256
    assert moments.params == given.after.params


# Each cell once


def test_a_known_cell_is_not_run_again(model, tmp_path, runs):
    results = tmp_path / "results.json"
    first = nmcore.sweep(model, results=results, **GRID)
    content = results.read_bytes()
    assert len(runs) == 4
    assert nmcore.sweep(model, results=results, **GRID) == first
    assert len(runs) == 4
    assert results.read_bytes() == content
    more = nmcore.sweep(model, results=results, macs=[0.5], **GRID)
    assert runs[4:] == [("model.onnx", "prune", 0.5), ("model.onnx", "merge", 0.5)]
    assert len(saved(results)) == 6
    assert more[:2] == first[:2]


def test_a_cell_is_all_that_it_depends_on(model, data, tmp_path, runs, monkeypatch):
    results = tmp_path / "results.json"

    def count(**options):
        before = len(runs)
        nmcore.sweep(model, results=results, **{"methods": ["merge"], **options})
        return len(runs) - before

    assert count() == 1
    assert count(seed=0) == 0  # the default
    assert count(criterion="l2") == 1
    assert count(scale=2) == count(scale=3) == 1
    assert count(scale=2.0) == 0
    assert count(data=data) == 0  # merge does not look at it
    assert count(methods=["moments"]) == count(methods=["moments"], data=data) == 1
    assert count(evaluate_data=data) == 1
    moved = model.rename(tmp_path / "other.onnx")
    assert nmcore.sweep(moved, methods=["merge"], results=results)[0].model == "model.onnx"
    model.write_bytes(onnx.ModelProto.SerializeToString(small_network((2, 3, 8, 8)).build()))
    assert count() == 1
    for module in (sweep, cells):
        monkeypatch.setattr(module, "__version__", "0.0.1")
    assert count() == 1


def test_equal_cells_are_one(model, tmp_path):
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(model.read_bytes())
    assert len(nmcore.sweep([model, copy], methods=["merge", "merge"], ratios=[0.5, 0.5])) == 1


def test_a_model_that_is_not_there_is_made_again(model, tmp_path, runs):
    first = nmcore.sweep(model, results=tmp_path / "r.json", **GRID)
    out = tmp_path / "out"
    out.mkdir()
    where = {"results": tmp_path / "r.json", "out_dir": out}
    assert nmcore.sweep(model, **where, **GRID) == first
    assert len(list(out.iterdir())) == 4
    next(out.glob("*prune*")).unlink()
    nmcore.sweep(model, **where, **GRID)
    assert len(runs) == 9
    assert len(list(out.iterdir())) == 4
    assert len(saved(tmp_path / "r.json")) == 4


def test_an_interrupted_sweep_goes_on(model, tmp_path, runs):
    results = tmp_path / "results.json"
    with pytest.raises(KeyboardInterrupt):
        nmcore.sweep(model, results=results, progress=stopping(after=2), **GRID)
    assert len(saved(results)) == 2
    records = nmcore.sweep(model, results=results, **GRID)
    assert records == nmcore.sweep(model, **GRID)
    assert [r["cell"] for r in saved(results)] == [r.cell for r in records]
    assert len(runs) == 4 + 4  # of which the last four were those without a file
    assert sorted(os.listdir(tmp_path)) == ["model.onnx", "results.json"]


# Elsewhere


def test_threads_and_processes_give_the_same(model, data, tmp_path):
    grid = {**GRID, "methods": ("prune", "merge", "auto"), "evaluate_data": data, "samples": 8}
    folders = [tmp_path / name for name in ("here", "threads", "processes")]
    for folder in folders:
        folder.mkdir()
    found = [nmcore.sweep(model, out_dir=folders[0], **grid)]
    with ThreadPoolExecutor(3) as executor:
        found.append(nmcore.sweep(model, out_dir=folders[1], executor=executor, **grid))
    with executors.processes(2) as executor:
        found.append(nmcore.sweep(model, out_dir=folders[2], executor=executor, **grid))
    assert all(record.error is None for record in found[0])
    assert found[0] == found[1] == found[2]
    here, threads, workers = (
        {path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders
    )
    assert here == threads == workers


SWEEPING = """
import sys, nmcore
from nmcore.utils import executors
if __name__ == "__main__":
    with executors.processes(2) as executor:
        nmcore.sweep(
            sys.argv[1], results=sys.argv[2], executor=executor,
            methods=["prune", "merge"], ratios=[k / 1000 for k in range(1, 500)],
            providers=("cpu",),
        )
"""


@pytest.mark.skipif(not CAN_TELL, reason="no /proc to see processes in")
def test_a_killed_sweep_leaves_what_is_done_and_no_process(model, tmp_path, runs):
    results = tmp_path / "results.json"
    program = tmp_path / "program.py"
    program.write_text(SWEEPING)
    child = subprocess.Popen(
        [sys.executable, str(program), str(model), str(results)], start_new_session=True
    )
    wait_until(lambda: results.exists() and len(saved(results)) > 3)
    assert len(members(child.pid)) >= 3
    child.kill()
    child.wait()
    done = len(saved(results))
    wait_until(lambda: not members(child.pid))
    ratios = [k / 1000 for k in range(1, 500)][: done + 2]
    records = nmcore.sweep(
        model, methods=["prune", "merge"], ratios=ratios, results=results, providers=("cpu",)
    )
    assert len(runs) < len(records)
    known = [each["cell"] for each in saved(results)]
    assert len(known) == len(set(known)) == done + len(runs)
    some = [r for r in records if (r.method, r.share) not in {run[1:] for run in runs}][:3]
    assert some == [
        nmcore.sweep(model, methods=[r.method], ratios=[r.share], providers=("cpu",))[0]
        for r in some
    ]


# What goes wrong


def test_a_failing_cell_is_recorded_and_the_others_go_on(model, tmp_path, runs):
    grid = {"methods": ["merge"], "macs": [1e-6, 0.5], "results": tmp_path / "r.json"}
    failed, done = nmcore.sweep(model, **grid)
    assert "cannot be met: with as few channels as possible" in failed.error
    assert (failed.traceback, failed.params, done.error) == (None, None, None)
    assert nmcore.sweep(model, **grid) == [failed, done]
    assert len(runs) == 2
    assert nmcore.sweep(model, retry_failed=True, **grid) == [failed, done]
    assert len(runs) == 3
    assert len(saved(tmp_path / "r.json")) == 2


def test_what_failed_for_a_while_is_mended_by_a_retry(model, tmp_path, monkeypatch):
    def broken(*_args, **_options):
        raise KeyError("a bug\nin two lines")

    with monkeypatch.context() as patch:
        patch.setattr(cells, "compress", broken)
        (record,) = nmcore.sweep(model, results=tmp_path / "r.json")
    assert record.error == r"KeyError: 'a bug\nin two lines'"
    assert "in broken" in record.traceback
    (record,) = nmcore.sweep(model, results=tmp_path / "r.json", retry_failed=True)
    assert (record.error, record.traceback) == (None, None)
    assert saved(tmp_path / "r.json")[0]["error"] is None


def test_memory_that_runs_out_is_the_cell_s_own_trouble(model, monkeypatch):
    def greedy(*_args, **_options):
        raise MemoryError

    monkeypatch.setattr(cells, "compress", greedy)
    (record,) = nmcore.sweep(model)
    assert (record.error, record.traceback) == ("out of memory", None)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model_sha256": "0" * 64}, "model.onnx is not the file here that it was"),
        ({"data_sha256": "0" * 64}, "data.npz is not the file here that it was"),
        ({"evaluate_sha256": "0" * 64}, "data.npz is not the file here that it was"),
        ({"nmcore": "0.0.1"}, "the sweep needs 0.0.1"),
    ],
)
def test_a_worker_that_sees_something_else_says_so(model, data, monkeypatch, changed, message):
    def elsewhere(cell):
        return replace(cells.run(replace(cell, key={**cell.key, **changed})), cell=cell.digest)

    monkeypatch.setattr(sweep, "run", elsewhere)
    (record,) = nmcore.sweep(model, methods=["moments"], data=data, samples=8, evaluate_data=data)
    assert message in record.error


def test_the_order_of_keep_makes_another_cell(model, tmp_path):
    """The last match counts."""
    results = tmp_path / "r.json"
    every, first = ("*", 2), ("conv1", 3)
    given = [dict(pairs) for pairs in ((every, first), (first, every))]
    params = [
        nmcore.sweep(model, methods=["prune"], ratios=[0], keep=keep, results=results)[0].params
        for keep in given
    ]
    apart = [nmcore.compress(model, method="prune", keep=keep).after.params for keep in given]
    assert params == apart
    assert params[0] != params[1]


class Failing(Executor):
    """Runs the first call and fails at the others."""

    def __init__(self, error):
        self.error = error
        self.count = 0

    def submit(self, function, /, *args):
        future = Future()
        self.count += 1
        if self.count == 1:
            future.set_result(function(*args))
        else:
            future.set_exception(self.error)
        return future


def test_a_pool_that_breaks_ends_the_sweep_in_a_line(model, tmp_path, runs):
    results = tmp_path / "r.json"
    with pytest.raises(ArgumentError, match=r"broke down .*; [01] of 4 got done.*: it died"):
        nmcore.sweep(model, results=results, executor=Failing(BrokenProcessPool("it died")), **GRID)
    assert all(record.error is None for record in nmcore.sweep(model, results=results, **GRID))
    assert len(saved(results)) == 4


def test_a_worker_that_dies_of_a_cell_fails_that_cell(model):
    records = nmcore.sweep(model, executor=Failing(RuntimeError("killed")), **GRID)
    errors = [record.error for record in records]
    assert errors == [None, *["RuntimeError: killed"] * 3]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"methods": ["fuse"]}, ArgumentError, "method is 'fuse'; one of auto, "),
        ({"ratios": [1]}, ArgumentError, "ratio is 1; a share of at least 0 and below 1 is needed"),
        ({"macs": [0.5, 2]}, ArgumentError, "macs is 2; a share above 0 and at most 1 is needed"),
        ({"data": "no.npz"}, DataError, "data no.npz does not exist"),
        (
            {"labels": "pyproject.toml"},
            DataError,
            "labels are of the files in a folder, and evaluate",
        ),
        ({"out_dir": "no"}, DataError, "out-dir no does not exist"),
        ({"criterion": "size"}, ArgumentError, "criterion is 'size'; one of auto, "),
        ({"samples": -3}, ArgumentError, "samples is -3; "),
        ({"lam": float("nan")}, ArgumentError, "lam is nan; "),
        ({"executor": 3}, ArgumentError, "executor is 3; a concurrent.futures.Executor is needed"),
        ({"round_to": "auto"}, ArgumentError, "a sweep takes no times"),
        ({"std": [0]}, DataError, "std is 0.0; it divides, so it cannot be 0"),
        ({"results": "no/r.json"}, ArgumentError, "the folder .*no does not exist"),
        ({"latency": 0.5}, TypeError, "unexpected keyword argument 'latency'"),
    ],
)
def test_what_is_wrong_for_all_cells_is_said_before_any_runs(model, runs, options, error, message):
    with pytest.raises(error, match=message):
        nmcore.sweep(model, **options)
    assert runs == []


def test_models_are_looked_at_first(model, tmp_path, runs):
    with pytest.raises(ModelError, match=r"no\.onnx does not exist"):
        nmcore.sweep([model, tmp_path / "no.onnx"], results=tmp_path / "r.json")
    assert runs == []
    assert not (tmp_path / "r.json").exists()


WHOLE = '[{"cell": %s, "model": "m", "method": "merge", "budget": "ratio", "share": %s}]'


@pytest.mark.parametrize(
    "content",
    [
        *("", "{}", '{"a": 1}', "[1]", '[{"cell": "a"}]', "\xff", "[" * 100_000),
        *(WHOLE % ("null", "0.5"), WHOLE % ("[]", "0.5"), WHOLE % ('"a"', "NaN")),
    ],
)
def test_a_file_of_something_else_is_not_touched(model, tmp_path, content):
    path = tmp_path / "r.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(ArgumentError, match="holds no records of a sweep"):
        nmcore.sweep(model, results=path)
    assert path.read_text(encoding="latin-1") == content


# One at a time

HOLDING = """
import sys
from pathlib import Path
from nmcore.utils.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no locks between processes")
def test_two_sweeps_do_not_write_one_file(model, tmp_path):
    results = tmp_path / "r.json"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(results)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ArgumentError, match="is being written by another run"):
            nmcore.sweep(model, results=results, **GRID)
        assert not results.exists()
        os.kill(other.pid, signal.SIGKILL)
    assert (tmp_path / ".r.json.lock").exists()
    assert len(nmcore.sweep(model, results=results, **GRID)) == 4
    assert sorted(os.listdir(tmp_path)) == ["model.onnx", "r.json"]


def test_threads_do_not_share_a_file_either(tmp_path):
    with locked(tmp_path / "a"):
        with pytest.raises(ArgumentError, match="another run"), locked(tmp_path / "a"):
            raise AssertionError
        with locked(tmp_path / "b"):
            assert len(os.listdir(tmp_path)) == 2 * hasattr(os, "fork")
    with locked(tmp_path / "a"):
        pass
    assert os.listdir(tmp_path) == []


def test_records_survive_the_file(model, tmp_path):
    path = tmp_path / "r.json"
    records = nmcore.sweep(model, results=path, **GRID)
    kept = Records(path)
    assert [kept[record.cell] for record in records] == records
    assert path.read_text().count("\n") == 2 + len(records)
