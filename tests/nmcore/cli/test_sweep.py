"""``nmcore sweep``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

import nmcore
from nmcore.sweeps import cell as cells
from sessions import CAN_TELL, members, wait_until


@pytest.fixture
def sweep(run, model, tmp_path):
    """Sweep the model with results in a file."""

    def run_sweep(*options, code=0):
        words = ("sweep", model, "--results", tmp_path / "results.json", "--providers", "cpu")
        return run(*words, *options, code=code)

    return run_sweep


def test_a_table_with_a_line_a_cell(sweep, data):
    found = sweep(
        *("--method", "prune", "--method", "merge", "--ratio", "0.25", "0.5"),
        *("--evaluate-data", data, "--scale", "255"),
    ).stdout.splitlines()
    assert found[0].split("  ")[0] == "model"
    assert "top-1 %" in found[0]
    rows = [line.split() for line in found[1:]]
    assert [row[1:4] for row in rows] == [
        ["as", "it", "is"],
        *(
            [method, "ratio", share]
            for method in ("prune", "merge")
            for share in ("0.25", "0.5")
        ),
    ]  # fmt: skip


def test_without_data_there_are_no_columns_of_it(sweep):
    assert "top-1" not in sweep("--method", "merge").stdout


def test_json_is_the_records(sweep, model, tmp_path):
    words = ("--method", "merge", "--macs", "0.5,0.7", "--json")
    printed = json.loads(sweep(*words).stdout)
    assert printed == json.loads((tmp_path / "results.json").read_text())
    records = nmcore.sweep(model, methods=["merge"], macs=[0.5, 0.7], providers=("cpu",))
    assert [each["cell"] for each in printed] == [record.cell for record in records]
    assert json.loads(sweep(*words, "--jobs", "2").stdout) == printed


def test_what_fails_is_told_at_the_end(sweep):
    failed = sweep("--method", "merge", "--macs", "0.5", "1e-6", code=2)
    assert "failed" in failed.stdout
    assert "model.onnx, merge, macs 1e-06: macs of 1e-06 cannot be met" in failed.stdout
    assert failed.stderr == ("nmcore: error: 1 of 2 cells failed; --retry-failed runs them again\n")


def test_a_bug_is_told_by_its_traceback(sweep, monkeypatch):
    def broken(*_args, **_options):
        raise KeyError("a bug")

    monkeypatch.setattr(cells, "compress", broken)
    failed = sweep(code=1)
    assert "KeyError: 'a bug'" in failed.stdout
    assert failed.stderr.startswith("Traceback (most recent call last)")
    monkeypatch.undo()
    assert "failed" not in sweep("--method", "merge", "--retry-failed").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--method", "fuse"), "'fuse' is not one of"),
        (("--ratio", "1"), "ratio is 1.0; a share of at least 0 and below 1 is needed"),
        (("--jobs", "2", "--dask", "tcp://1.2.3.4:5"), "jobs and dask were given"),
        (("--dask", "nowhere://1"), "no dask scheduler answers at nowhere://1"),
        (("--out-dir", "no"), "out-dir no does not exist"),
    ],
)
def test_mistakes(fails, model, tmp_path, words, message):
    if words[0] == "--dask":
        pytest.importorskip("distributed", reason="dask.distributed is not installed")
    assert message in fails("sweep", model, "--results", tmp_path / "r.json", *words)


def test_dask_is_asked_for_where_it_is_missing(fails, model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    said = fails("sweep", model, "--results", tmp_path / "r.json", "--dask", "tcp://1.2.3.4:5")
    assert said == "dask.distributed is not installed; pip install 'nmcore[dask]' brings it"


@pytest.mark.skipif(not CAN_TELL, reason="no /proc to see processes in")
def test_control_c_ends_all_processes_in_a_line(model, tmp_path):
    results = tmp_path / "results.json"
    ratios = [str(k / 1000) for k in range(1, 900)]
    words = ["sweep", model, "--results", results, "--jobs", "2", "--ratio", *ratios]
    child = subprocess.Popen(
        [sys.executable, "-m", "nmcore", *map(str, words), "--method", "merge"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    wait_until(lambda: results.exists() or child.poll() is not None)
    os.killpg(child.pid, signal.SIGINT)
    output, errors = child.communicate(timeout=30)
    assert (child.returncode, output) == (130, b"")
    assert errors.strip() == b"nmcore: interrupted"
    wait_until(lambda: not members(child.pid))
    assert 0 < len(json.loads(results.read_text())) < len(ratios)
    assert sorted(os.listdir(tmp_path)) == ["model.onnx", "results.json"]
