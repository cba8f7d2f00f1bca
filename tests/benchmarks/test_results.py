"""Keeping results, writing them as tables, telling who wins, and the page of all of them."""

from __future__ import annotations

import doctest
import json

import pytest


@pytest.mark.parametrize("name", ["tables", "table3", "resnet56", "redundancy"])
def test_examples_in_docstrings(name):
    module = __import__(name)
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


def test_a_cell_is_measured_once(tmp_path):
    from store import Store

    path = tmp_path / "kept.json"
    measured = []

    def measure():
        measured.append(1)
        return {"top1": 50.0 + len(measured)}

    cell = {"method": "merge"}
    assert Store(path).once(cell, {"command": "a"}, measure) == {"top1": 51.0}
    assert Store(path).once(cell, {"command": "a"}, measure) == {"top1": 51.0}
    # Another command: the same cell anew.
    store = Store(path)
    assert store.once(cell, {"command": "b"}, measure) == {"top1": 52.0}
    assert len(store.records) == len(json.loads(path.read_text())) == 1


def test_machine_names_no_host_and_no_folder():
    import platform

    from store import machine

    assert "/" not in machine()
    assert platform.node() not in machine()


def test_markdown_aligns_numbers_to_the_right():
    from tables import Table

    lines = Table(["name", "top-1 %"], [["a", "9.50"], ["bc", "+10.00"]]).markdown().splitlines()
    assert lines == [
        "| name | top-1 % |",
        "| ---- | ------: |",
        "| a    |    9.50 |",
        "| bc   |  +10.00 |",
    ]


def records(*figures):
    from store import Record

    return [
        Record(
            {"removed": removed, "criterion": criterion, "method": method}, {}, {"top1": top1}, "m"
        )
        for removed, criterion, method, top1 in figures
    ]


def test_verdicts_name_every_lost_row():
    from verdicts import sentence

    found = records(
        ("20", "l1", "prune", 80.0),
        ("20", "l1", "merge", 85.0),
        ("40", "l1", "prune", 60.0),
        ("40", "l1", "merge", 59.0),
        ("20", "error", "moments", 86.0),
        ("40", "error", "moments", 84.0),
    )
    assert sentence(found, "merge", "prune") == (
        "**merge** beats prune in 1 of 2 rows, but not in these: 40 %, l1 (59.00 against 60.00)."
    )
    assert sentence(found, "moments", "merge") == "**moments** beats merge in 2 of 2 rows."
    assert sentence(found, "moments+data", "merge") == ""


def test_page_is_made_from_json_alone(command, tmp_path):
    from store import Store

    folder = tmp_path / "results"
    folder.mkdir()
    store = Store(folder / "table2.json")
    store.once({"batch norm": "kept", "method": "as it is"}, {}, lambda: result(81.46))
    for method, top1 in (("prune", 10.12), ("merge", 13.06)):
        cell = {"batch norm": "kept", "removed": "40", "criterion": "l1", "method": method}
        store.once(cell, {}, lambda top1=top1: result(top1))
    _, told = command("page", folder, tmp_path / "results.md")
    page = (tmp_path / "results.md").read_text()
    assert "table1.json is not there" in told
    assert "**merge** beats prune in 1 of 1 rows." in page
    assert "python benchmarks/accuracy/table2.py path/to/mobilenet" in page
    assert str(tmp_path) not in page


def result(top1):
    return {"n": 10, "top1": top1, "params": 1_446_342, "trained": 1_432_394, "macs": 18_233_292}


class TestPeers:
    def test_what_is_not_installed_is_said_and_left_out(self, monkeypatch, capsys):
        import peers

        monkeypatch.setattr(peers, "find_spec", lambda name: None)
        assert peers.installed(["magnitude"]) == []
        assert capsys.readouterr().err.splitlines() == [
            "torch-pruning is not installed: its rows are left out",
            "onnxsim is not installed: its rows are left out",
        ]
        monkeypatch.setattr(peers, "find_spec", lambda name: object())
        assert peers.installed(["magnitude", "lamp"]) == [
            "torch-pruning, magnitude",
            "torch-pruning, lamp",
            "onnxsim",
        ]

    def test_a_plan_is_named_without_its_folder_and_counts_by_its_content(
        self, tmp_path, monkeypatch
    ):
        from store import digest
        from trials import Bench, Trial

        plan = tmp_path / "plan.json"
        plan.write_text('{"groups": {}}')

        class Judge:
            def key(self):
                return {}

        bench = Bench(Judge(), ())
        monkeypatch.setattr(Bench, "_measure", lambda self, trial: {})
        trial = Trial(plan, "merge", plan=plan)
        for groups in ('{"groups": {}}', '{"groups": {"a": [0]}}'):
            plan.write_text(groups)
            digest.cache_clear()
            bench.run(trial, {"groups": groups})
        first, second = bench.store.records
        assert first.key["command"] == (
            "nmcore compress plan.json OUT --method merge --plan plan.json"
        )
        assert first.key["plan_sha256"] != second.key["plan_sha256"]

    def test_the_table(self):
        import peers
        from store import Record

        def record(top1, **cell):
            result = {"top1": top1, "params": 10, "macs": 20}
            return Record({"model": "net", **cell}, {}, result, "here")

        cell = {"removed": "50"}
        found = peers.outcome(
            [
                record(90.0, method="as it is"),
                record(50.0, **cell, **{"chosen by": "onnxsim"}, method="prune"),
                record(60.0, **cell, **{"chosen by": "torch-pruning, lamp"}, method="merge"),
            ]
        )
        (table,) = found.tables
        assert table.title == "net: 90.00 before, 10 parameters, 20 MACs"
        assert table.rows == [
            ["onnxsim", "50 %", "10", "20", "50.00", "", "", ""],
            ["torch-pruning, lamp", "50 %", "10", "20", "", "60.00", "", ""],
        ]
