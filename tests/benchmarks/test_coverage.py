"""The coverage benchmark on a few made files: every one is a row, whatever becomes of it."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import onnx
import pytest

from chain import Chain

FOLDER = Path(__file__).parents[2] / "benchmarks" / "coverage"


@pytest.fixture
def modules(monkeypatch):
    """The benchmark's modules, which find each other as a script's neighbours do."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(FOLDER))
    import examine
    import programs
    import rendering
    import run as coverage_run

    yield {"run": coverage_run, "programs": programs, "rendering": rendering, "examine": examine}
    for name in {"run", "programs", "rendering", "examine"} & (set(sys.modules) - before):
        del sys.modules[name]


@pytest.fixture
def models(tmp_path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    onnx.save(
        Chain(("n", 3, "h", "w")).conv(8).node("Relu").conv(4).build(), folder / "dynamic.onnx"
    )
    chain = Chain().conv(8).node("Relu").node("LRN", size=3).conv(4)
    onnx.save(chain.build(), folder / "declined.onnx")
    (folder / "damaged.onnx").write_bytes(b"this is no model")
    return folder


def test_every_file_is_a_row(models, tmp_path, modules, capsys):
    store, table = tmp_path / "coverage.json", tmp_path / "coverage.md"
    words = [str(models), "--method", "prune", "--no-peer", "--limit", "240"]
    words += ["--json", str(store), "--markdown", str(table)]
    modules["run"].main(words)
    records = {record["file"]: record for record in json.loads(store.read_text())}
    assert records["damaged.onnx"]["ended"] == "refused"
    dynamic = records["dynamic.onnx"]
    for name in ("checker", "shapes", "loads", "runs", "face", "verify"):
        assert dynamic[name] == "ok", dynamic
    assert len(dynamic["sizes"]) == 3
    assert modules["rendering"].share(dynamic) < 1
    assert dynamic["seconds"] > 0
    assert dynamic["peak_mb"] > 1
    assert any("LRN" in reason for reason in records["declined.onnx"]["declined"])
    text = table.read_text()
    assert "| damaged" in text
    assert "reason for leaving a node alone" in text
    # A second run finds all of it in its memory.
    capsys.readouterr()
    modules["programs"].PROGRAMS["nmcore"], known = None, modules["programs"].PROGRAMS["nmcore"]
    try:
        modules["run"].main(words)
    finally:
        modules["programs"].PROGRAMS["nmcore"] = known
    assert capsys.readouterr().out.strip() == text.strip()


def test_a_hang_and_a_crash_are_results(modules):
    run_alone = modules["programs"].run_alone
    hanging = run_alone([sys.executable, "-c", "import time; time.sleep(60)"], 0.5)
    assert (hanging.ended, hanging.code) == ("timeout", None)
    assert hanging.seconds < 30
    assert run_alone([sys.executable, "-c", "import os; os.abort()"], 30).ended == "crashed"
    code = "import sys; print('no', file=sys.stderr); sys.exit(2)"
    refused = run_alone([sys.executable, "-c", code], 30)
    assert (refused.ended, refused.last_words) == ("refused", "no")


def test_a_broken_result_is_shown_as_broken(tmp_path, modules):
    good = Chain().conv(8).node("Relu").conv(4).build()
    bad = onnx.ModelProto()
    bad.CopyFrom(good)
    weight = onnx.numpy_helper.to_array(bad.graph.initializer[0])[:5]
    name = bad.graph.initializer[0].name
    bad.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight.copy(), name))
    onnx.save(good, tmp_path / "good.onnx")
    onnx.save(bad, tmp_path / "bad.onnx")
    record = modules["examine"].examine(tmp_path / "good.onnx", tmp_path / "bad.onnx")
    assert "broken" in (record["shapes"], record["loads"], record["runs"])
    assert "BROKEN" in modules["rendering"].share_text(record | {"ended": "fine"})
    assert not modules["rendering"].sound(record | {"ended": "fine"})


def test_reasons_are_counted_over_files(modules):
    records = [
        {"declined": {"its channels reach Add 'a', a residual sum": 2}},
        {"declined": {"its channels reach Add 'b', a residual sum": 1, "the model's 'x'": 1}},
        {},
    ]
    assert modules["rendering"].reasons(records) == [
        ["its channels reach Add ..., a residual sum", "3", "2"],
        ["the model's ...", "1", "1"],
    ]


def test_wrong_options_are_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run.py", str(tmp_path / "nowhere")])
    monkeypatch.syspath_prepend(str(FOLDER))
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(FOLDER / "run.py"), run_name="__main__")
    assert stopped.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_shares_are_told_without_what_makes_the_classes(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import timm_families

    model = Chain().conv(8).node("GlobalAveragePool").node("Flatten").gemm(10).build()
    assert timm_families.of_classes(model, 10) == 10 * 8 + 10
    record = {"model": "m", "ended": "compressed", "params": 1000, "share": 0.5, "reasons": []}
    told = timm_families.table({"a": record | {"without classes": 0.25}, "b": record}, 0.55)
    assert "| a | m | 1,000 | 0.500 | 0.250 |" in told
    assert "| b | m | 1,000 | 0.500 |  |" in told
