"""The account of a compression as data and as a file."""

from __future__ import annotations

import json

import account
from nmcore.plan.summaries import PICTURES
from nmcore.report.report import GroupReport, group_reports
from nmcore.report.writers import dumps, save


def test_the_file_holds_what_the_design_promises(report, tmp_path):
    save(report, tmp_path / "r.json")
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
        {"node": "fc", "op": "Gemm", "reason": "its channels are the output", "names": []}
    ]
    assert data["notes"] == ["measured on synthetic inputs"]
    assert (data["command"], data["seed"]) == ("nmcore compress a b", 7)
    assert {"python", "nmcore", "numpy"} <= set(data["versions"])
    assert report.removed == 3


def test_the_data_holds_what_the_page_shows(tmp_path):
    path = tmp_path / "r.json"
    save(account.report(account.outcome(), account.outcome(method="moments")), path)
    merged, measured = json.loads(path.read_text())["groups"]
    assert merged["curve"] is None
    assert sum(merged["similarity"]["merged"]) == merged["merged"]
    assert merged["similarity"]["threshold"] == 0.3
    assert len(merged["z"]["cells"]) == merged["kept"] == merged["z"]["kept"]
    assert measured["similarity"] is None
    assert measured["z"] is None
    assert measured["curve"]["removed"] == [1, 2, 3, 4, 5, 6, 7]
    assert measured["curve"]["chosen"] == measured["curve"]["error"][3]


def test_pictures_are_for_those_where_most_is_merged():
    many = [account.outcome(f"g{n}", 8 + n, 4, seed=n) for n in range(PICTURES + 20)]
    groups = group_reports([*many, account.outcome("pruned", method="prune")])
    drawn = {group.name for group in groups if group.z is not None}
    assert len(drawn) == PICTURES
    others = [o.merged for o in many if o.plan.name not in drawn]
    assert max(others) <= min(o.merged for o in many if o.plan.name in drawn)


def test_the_size_does_not_grow_with_the_group():
    group = GroupReport.of(account.outcome(width=3000, kept=1000), picture=True)
    assert len(json.dumps(group.z.cells)) < 20_000
    long = account.outcome(width=3000, kept=1000, method="moments")
    assert len(dumps(GroupReport.of(long, picture=True).curve.error)) < 2_000
