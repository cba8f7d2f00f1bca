"""``nmcore compress --report``: as data, as a page, and what both hold of each method."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

import nmcore
from chain import Chain
from nmcore.errors import ArgumentError

HOSTILE = ("</script><script>alert(1)</script>", "a", '"><img src=x onerror=alert(1)>')


@pytest.fixture
def reported(run, model, tmp_path):
    """Compress with options; the report as data and as a page."""

    def compress(*options):
        page, data = tmp_path / "r.html", tmp_path / "r.json"
        run("compress", model, tmp_path / "o.onnx", *options, "--report", page, "--report", data)
        return json.loads(data.read_text()), page.read_text()

    return compress


def test_a_merge_brings_similarities_and_z(reported):
    data, page = reported("--method", "merge", "--threshold", "0.2")
    for group in data["groups"]:
        similarity = group["similarity"]
        assert similarity["threshold"] == 0.2
        assert sum(similarity["merged"]) == group["merged"]
        assert sum(similarity["left_out"]) == group["left_out"]
        assert len(group["z"]["cells"]) == group["kept"]
        assert group["curve"] is None
    assert "Similarity of removed and kept channels" in page
    assert page.count('class="z"') == 3


def test_a_merge_names_the_thresholds_that_it_chose(reported):
    data, _ = reported("--method", "merge")
    thresholds = {group["name"]: group["similarity"]["threshold"] for group in data["groups"]}
    assert thresholds == {"conv1": 0.1, "conv2": 0.1, "gemm1": 0.45}


def test_a_budget_brings_whole_curves_with_the_chosen_points(reported):
    data, page = reported("--method", "moments", "--macs", "0.6")
    for group in data["groups"]:
        curve = group["curve"]
        assert curve["original"] is True
        assert curve["removed"] == list(range(1, group["width"]))
        assert curve["error"] == sorted(curve["error"])
        gone = group["width"] - group["kept"]
        assert curve["chosen"] == (curve["error"][gone - 1] if gone else 0)
        assert group["similarity"] is group["z"] is None
    assert "Error as channels go" in page


def test_a_ratio_brings_curves_up_to_the_chosen_points(reported):
    data, page = reported("--method", "moments", "--ratio", "0.5")
    for group in data["groups"]:
        curve = group["curve"]
        assert curve["original"] is False
        assert curve["removed"] == list(range(1, group["width"] - group["kept"] + 1))
        assert 0 <= curve["chosen"] == curve["error"][-1] <= 1
    assert "compressed so far" in page


def test_a_criterion_measures_no_curve(reported):
    data, page = reported("--method", "moments", "--criterion", "l1")
    assert {group["curve"] for group in data["groups"]} == {None}
    assert "Error as channels go" not in page


def test_results_are_compared_on_the_data(reported, data):
    account, page = reported("--data", data, "--scale", "255", "--samples", "8")
    found = account["fidelity"]
    assert found["data"] == str(data)
    assert found["n"] == 20
    assert all(0 <= found[name] <= 100 for name in ("top1_before", "top1_after", "agreement"))
    assert found["deviation"] > 0
    assert "Accuracy (top-1)" in page
    assert "which it may have been fitted to" in page


def test_labels_that_do_not_fit_spoil_nothing(run, model, tmp_path):
    data, report = tmp_path / "d.npz", tmp_path / "r.json"
    x = np.random.default_rng(0).random((4, 3, 8, 8), np.float32)
    np.savez(data, x=x, y=np.full(4, 99))
    done = run("compress", model, tmp_path / "o.onnx", "--data", data, "--report", report)
    assert "the results are not compared: the classes of " in done.stderr
    assert json.loads(report.read_text())["fidelity"] is None


def test_each_report_is_checked_before_the_work(fails, model, tmp_path):
    good, out = ["--report", tmp_path / "r.html"], tmp_path / "o.onnx"
    bad = ["--report", tmp_path / "r.pdf"]
    assert "must end in .json or .html" in fails("compress", model, out, *good, *bad)
    same = tmp_path / "o.html"
    assert "the same file" in fails("compress", model, same, "--report", same)


def test_from_python(model, tmp_path):
    result = nmcore.compress(model, method="merge")
    result.save_report(tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "nmcore.compress(" in page
    assert "Latency" in page
    assert "Layer by layer" in page


def test_python_writes_what_the_program_writes(run, model, tmp_path):
    options = {"ratio": 0.5, "method": "merge", "providers": ["cpu"], "threads": 1}
    told = tmp_path / "program.json"
    args = ("--ratio", 0.5, "--method", "merge", "--providers", "cpu", "--threads", 1)
    run("compress", model, tmp_path / "o.onnx", *args, "--report", told)
    result = nmcore.compress(model, **options)
    result.save_report(tmp_path / "python.json")
    program, python = (json.loads(each.read_text()) for each in (told, tmp_path / "python.json"))
    assert python == json.loads(json.dumps(result.to_dict()))
    assert program.keys() == python.keys()
    assert python["fidelity"] == program["fidelity"]
    assert python["fidelity"]["deviation"] > 0
    assert python["level"] == program["level"]
    assert [each["name"] for each in python["layers"]] == [e["name"] for e in program["layers"]]
    for each in (python["before"], python["after"]):
        assert each["latency_low_ms"] <= each["latency_ms"] <= each["latency_high_ms"]
    assert python["threads"] == 1
    assert python["command"].startswith("nmcore.compress(")


@pytest.mark.parametrize("name", ["r.pdf", "missing/r.json", None])
def test_a_report_of_no_such_name_is_refused_before_anything_is_measured(model, tmp_path, name):
    result = nmcore.compress(model, method="merge")
    with pytest.raises(ArgumentError, match=r"must end in|does not exist|path is None; the name"):
        result.save_report(name if name is None else tmp_path / name)
    assert "measured" not in vars(result)


def test_names_from_strangers_cannot_run_in_the_page(run, model, tmp_path):
    network = onnx.load(model)
    for node, name in zip(network.graph.node, HOSTILE, strict=False):
        node.name = name
    onnx.save(network, model)
    page, data = tmp_path / "r.html", tmp_path / "r.json"
    run("compress", model, tmp_path / "o.onnx", "--report", page, "--report", data)
    assert {group["name"] for group in json.loads(data.read_text())["groups"]} & {*HOSTILE}
    source = page.read_text()
    assert "<script" not in source
    assert source.count("<img") == source.count('<img src="data:image/')
    assert "&lt;script&gt;" in source


def test_the_page_of_a_compression_has_them(run, tmp_path):
    onnx.save(Chain().conv(16).node("Relu").conv(6).build(), tmp_path / "model.onnx")
    run(
        *("compress", tmp_path / "model.onnx", tmp_path / "out.onnx", "--method", "merge", "-q"),
        *("--report", tmp_path / "page.html", "--providers", "cpu"),
    )
    source = (tmp_path / "page.html").read_text()
    assert "Layers: channels, MACs, time before and after" in source
    assert "conv1 (Conv): channels 16 to 8" in source
