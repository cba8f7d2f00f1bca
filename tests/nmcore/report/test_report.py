"""The account of a compression as data and as a file."""

from __future__ import annotations

import json
import os

import pytest

import account
from nmcore.errors import ArgumentError
from nmcore.evaluation.latency import Latency
from nmcore.group import Cost, Declined
from nmcore.report.report import GroupReport, Measures, Report
from nmcore.report.writers import check_format, dumps
from nmcore.utils.versions import installed_versions


@pytest.fixture
def report():
    return Report(
        before=Measures.of(Cost(3, 100, 50), 400, Latency(2.0, 1.0, 3.0, 50)),
        after=Measures.of(Cost(3, 60, None), 240, None),
        groups=(GroupReport("conv", 8, 5, 2, 1, "merge", "l1"),),
        declined=(Declined("fc", "Gemm", "its channels are the output"),),
        notes=("measured on made inputs",),
        command="nmcore compress a b",
        seed=7,
        provider="cpu",
        threads=2,
        verified=False,
    )


def test_the_file_holds_what_the_design_promises(report, tmp_path):
    report.save(tmp_path / "r.json")
    data = json.loads((tmp_path / "r.json").read_text())
    assert data["before"] == {
        "nodes": 3, "params": 100, "macs": 50, "bytes": 400,
        "latency_ms": 2.0, "latency_low_ms": 1.0, "latency_high_ms": 3.0,
    }  # fmt: skip
    assert data["after"]["macs"] is None
    assert data["groups"] == [
        {"name": "conv", "width": 8, "kept": 5, "merged": 2, "left_out": 1, "method": "merge",
         "reason": "l1", "curve": None, "similarity": None, "z": None}
    ]  # fmt: skip
    assert data["declined"] == [
        {"node": "fc", "op": "Gemm", "reason": "its channels are the output"}
    ]
    assert data["notes"] == ["measured on made inputs"]
    assert (data["command"], data["seed"]) == ("nmcore compress a b", 7)
    assert {"python", "nmcore", "numpy"} <= set(data["versions"])
    assert report.removed == 3


def test_the_data_holds_what_the_page_shows(tmp_path):
    path = tmp_path / "r.json"
    account.report(account.outcome(), account.outcome(method="moments")).save(path)
    merged, measured = json.loads(path.read_text())["groups"]
    assert merged["curve"] is None
    assert sum(merged["similarity"]["merged"]) == merged["merged"]
    assert merged["similarity"]["threshold"] == 0.3
    assert len(merged["z"]["cells"]) == merged["kept"] == merged["z"]["kept"]
    assert measured["similarity"] is None
    assert measured["z"] is None
    assert measured["curve"]["removed"] == [1, 2, 3, 4, 5, 6, 7]
    assert measured["curve"]["chosen"] == measured["curve"]["error"][3]


def test_the_name_of_the_file_decides_its_format(report, tmp_path):
    report.save(tmp_path / "r.HTML")
    assert (tmp_path / "r.HTML").read_text().startswith("<!doctype html>")
    report.save(str(tmp_path / "r.json"))
    assert json.loads((tmp_path / "r.json").read_text())["seed"] == 7
    with pytest.raises(ArgumentError, match="must end in"):
        report.save(tmp_path / "r.pdf")


def test_a_crash_leaves_the_old_report(report, tmp_path, monkeypatch):
    path = tmp_path / "r.json"
    path.write_text("old")

    def crash(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        report.save(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_number_that_is_none_is_not_written():
    with pytest.raises(ValueError, match="JSON"):
        dumps({"x": float("nan")})


def test_lists_of_numbers_take_a_line_and_text_stays_as_it_is():
    data = {"error": [0.5, -1e-7, 3], "text": "[\n1,\n2\n]", "none": [], "mixed": [1, None]}
    assert json.loads(dumps(data)) == data
    assert '"error": [0.5, -1e-07, 3]' in dumps(data)


def test_control_characters_are_escaped():
    assert dumps(["a\nb\x1b"]) == '[\n  "a\\nb\\u001b"\n]'


def test_only_known_formats(tmp_path):
    check_format(tmp_path / "r.JSON")
    check_format(tmp_path / "r.html")
    with pytest.raises(ArgumentError, match=r"must end in \.json or \.html"):
        check_format(tmp_path / "r.xml")


def test_versions_are_text():
    assert all(isinstance(version, str) for version in installed_versions().values())
