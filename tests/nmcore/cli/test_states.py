"""``nmcore compress --states``."""

from __future__ import annotations

import json

import onnx

from stepwise import layer, written_out


def test_the_command_line(run, tmp_path):
    before, after = tmp_path / "m.onnx", tmp_path / "s.onnx"
    onnx.save(written_out(), before)
    told = run("compress", before, after, "--ratio", "0.5", "--method", "merge", "--states")
    assert "the output next is a state of shape (n, 3, 2) now, not (n, 6, 2)" in told.stdout
    compared = run("evaluate", before, after)
    assert "all models start from zeros, as shapes differ: state" in compared.stderr
    assert "64 synthetic inputs" in compared.stdout


def test_inspect_shows_the_groups_and_what_they_can_lose(run, tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(layer(), path)
    assert "no group of channels" in run("inspect", path).stdout
    assert "--states allows it" in run("inspect", path).stdout
    found = json.loads(run("inspect", path, "--states", "--sensitivity", "--json").stdout)
    assert [group["width"] for group in found["groups"]] == [6]
    assert len(found["sensitivity"]["groups"]) == 1


def test_sweeps_cut_states_too(run, tmp_path):
    path, results = tmp_path / "m.onnx", tmp_path / "r.json"
    onnx.save(layer(), path)
    sizes = ["--method", "merge", "--ratio", "0.5", "--results", results]
    run("sweep", path, *sizes, "--states")
    (record,) = json.loads(results.read_text())
    assert record["params"] < record["params_before"]
