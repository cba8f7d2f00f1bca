"""What a user is told of choices that were made for them, and of what was left unsaid before."""

from __future__ import annotations

import json
import logging

import numpy as np
import onnx
import pytest
from PIL import Image
from rich.console import Console

import nmcore
from chain import Chain
from nmcore.cli import terminal
from nmcore.data.images import Pictures
from nmcore.errors import ArgumentError, DataError
from nmcore.evaluation.evaluate import Evaluation
from nmcore.evaluation.metrics.base import Loss
from nmcore.pipeline.search import _too_few
from nmcore.plugins.inputs import InputSpec
from nmcore.report.phrases import outcome
from nmcore.report.report import Measures, Report
from nmcore.utils.logs import mention

FAST = ("--method", "merge", "--providers", "cpu")


@pytest.fixture(autouse=True)
def _each_line_anew():
    mention.cache_clear()


def test_each_deviation_says_on_what_inputs(run, model, data, tmp_path):
    result = run("compress", model, tmp_path / "out.onnx", "--data", data, "--scale", 255)
    (note,) = [line for line in result.stdout.splitlines() if "outputs deviate" in line]
    assert note.removeprefix("method merge instead: ").startswith(
        "on 20 inputs measured on the outputs"
    )


def test_one_ruined_output_of_several_is_warned_of(run, tmp_path):
    def network(factor):
        floats = onnx.TensorProto.FLOAT
        value = onnx.helper.make_tensor_value_info
        scales = {"large": np.float32(1000), "small": np.float32(factor)}
        nodes = [onnx.helper.make_node("Mul", ["x", f"s_{n}"], [n], name=n) for n in scales]
        weights = [onnx.numpy_helper.from_array(s, f"s_{n}") for n, s in scales.items()]
        outputs = [value(n, floats, ("n", 2, 3, 4, 5)) for n in scales]
        inputs = [value("x", floats, ("n", 2, 3, 4, 5))]
        graph = onnx.helper.make_graph(nodes, "g", inputs, outputs, weights)
        opset = [onnx.helper.make_opsetid("", 17)]
        path = tmp_path / f"{factor}.onnx"
        onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), path)
        return path

    result = run("evaluate", network(1), network(50), "--runs", 1, "--providers", "cpu")
    assert "warning: " in result.stdout
    assert "of 2 outputs, 'small' deviates most: by 4900.00 %" in result.stdout.splitlines()[-1]
    assert "warning" not in run("evaluate", network(1), network(1.5), "--runs", 1).stdout


def test_labels_without_a_folder(fails, model, data, tmp_path):
    (tmp_path / "l.csv").write_text("a.png,1\n")
    labels = ("--labels", tmp_path / "l.csv", "--providers", "cpu")
    line = fails("evaluate", model, *labels)
    assert line == "labels are of the files in a folder, and no data was given"
    line = fails("evaluate", model, "--data", data, *labels)
    assert line == (
        f"labels are of the files in a folder; data is {data}, and its classes would be y"
    )


def test_preprocessing_without_data(run, model):
    result = run("evaluate", model, "--preprocess", "unit", "--samples", 2, "--runs", 1)
    assert "synthetic inputs go through the preprocessing" in result.stderr


def spec(channels):
    return InputSpec("in", (None, channels, 8, 8), np.dtype(np.float32))


def test_what_becomes_of_pictures_is_told(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("nmcore.notices"), "propagate", True)
    for name, value in (("cat", 0), ("dog", 255)):
        (tmp_path / name).mkdir()
        Image.new("RGB", (9, 8), (value,) * 3).save(tmp_path / name / "a.png")
    with caplog.at_level(logging.INFO, "nmcore.notices"):
        Pictures(tmp_path).for_model([spec(1)], 2)
    assert "their centre is taken, and pixels are divided by 255 (--preprocess)" in caplog.text
    assert "coloured pictures become grey, as the model takes 1 channel" in caplog.text
    assert "are those of its subfolders: cat = 0, dog = 1" in caplog.text
    assert len(set(caplog.messages)) == 3


def test_pixels_of_sixteen_bits_keep_their_shades(tmp_path):
    pixels = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = Pictures(tmp_path).for_model([spec(1)], 1)
    x = found.take("in", slice(1), np.float32)[0, 0]
    np.testing.assert_allclose(x, pixels / 65535, atol=0.5 / 255 + 1e-6)


def test_pixels_that_are_no_bytes_are_refused(tmp_path):
    Image.fromarray(np.zeros((8, 8), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match="holds floating-point pixels; 8 or 16 bits are needed"):
        Pictures(tmp_path).for_model([spec(1)], 1)


def evaluated(name):
    figures = {"top1": 92.5, "agreement": 92.5, "deviation": 9.5}
    times = dict.fromkeys(("latency_ms", "latency_low_ms", "latency_high_ms"), 0.0431)
    return Evaluation(
        *(name, 10, 92.5, 92.5, 9.5, "scores", figures),
        **(times | {"latency_batch": 1, "params": 85966, "macs": 1121960, "bytes": 346000}),
        provider="cpu",
        threads=2,
        data="d",
    )


@pytest.mark.parametrize("width", [80, 120])
def test_names_are_whole_where_there_is_room(monkeypatch, capsys, width):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    out = Console(width=width, force_terminal=True, no_color=True)
    monkeypatch.setattr(terminal, "console", lambda: out)
    names = ["examples/fashion_mnist/lenet5_bn.onnx", "small.onnx", "small_int8.onnx"]
    terminal.show(out, terminal.evaluation_table(out, [evaluated(each) for each in names]))
    printed = capsys.readouterr().out
    assert all(name in printed for name in names)


def test_results_and_plans_as_dicts(model):
    result = nmcore.compress(model, method="merge", providers=["cpu"])
    assert result.to_dict() == result.measured.to_dict()
    assert json.loads(json.dumps(result.plan.to_dict())) == result.plan.to_dict()
    assert nmcore.compress(model, plan=result.plan.to_dict()).serialize() == result.serialize()


def test_a_result_is_no_text(model, tmp_path):
    result = nmcore.compress(model, method="merge", providers=["cpu"])
    with pytest.raises(ArgumentError, match=r"a name that ends in \.onnx is needed"):
        result.save(tmp_path / "x.txt")
    assert not (tmp_path / "x.txt").exists()


@pytest.mark.parametrize("metric", [max, int, lambda one: 1.0])
def test_what_is_no_metric(model, metric):
    with pytest.raises(ArgumentError, match="or a function of the outputs of the original"):
        nmcore.compress(model, metric=metric)


def test_unknown_macs_are_called_so():
    before, after = Measures(3, 200, 1000, 900), Measures(3, 150, None, 700)
    lines = [*outcome(Report(before, after, (), (), (), "", 0, None, None, False))]
    assert lines[1] == "speed: MACs unknown"


def test_a_limit_below_what_the_inputs_tell():
    (line,) = _too_few(Loss("top1", "top-1 accuracy", 0.5, 2.0, 100), 1.0)
    assert "standard error of the loss is 2.00 points, more than --max-drop 1" in line
    assert "some 400 inputs" in line
    assert [*_too_few(Loss("top1", "top-1 accuracy", 0.5, 0.9, 100), 1.0)] == []


def test_a_limit_below_what_the_inputs_tell_is_warned_of(run, model, data, tmp_path):
    args = (model, tmp_path / "out.onnx", "--data", data, "--scale", 255, "--max-drop", 5)
    result = run("compress", *args, "--metric", "agreement", *FAST)
    assert "points, more than --max-drop 5; some" in result.stderr


def test_sizes_at_which_the_model_does_not_run(fails, tmp_path):
    chain = Chain(("n", 3, "h", "w")).conv(8).node("Relu").conv(6)
    chain.node("Reshape", np.array([-1, 6 * 8 * 8])).node("Gemm", chain.weight(6 * 64, 4))
    onnx.save(chain.build(check=False), tmp_path / "open.onnx")
    line = fails(
        *("compress", tmp_path / "open.onnx", tmp_path / "out.onnx", *FAST),
        *("--input-shape", "1x3x7x9"),
    )
    assert line.startswith("input-shape: the model does not run at input=1x3x7x9: ")
