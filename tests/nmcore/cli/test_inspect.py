"""``nmcore inspect``."""

from __future__ import annotations

import json

import onnx
import pytest

from chain import Chain

OPEN = "MACs are of input=1x3x224x224, a guess: the model leaves sizes open (--input-shape)"


def test_json_is_what_the_design_promises(run, model):
    result = run("inspect", model, "--json")
    data = json.loads(result.stdout)
    assert result.stderr == ""
    assert (data["params"], data["nodes"]) == (1726, 9)
    assert data["macs"] == 36 * 27 * 8 + 16 * 72 * 16 + 16 * 12 + 12 * 10
    assert [(g["name"], g["width"]) for g in data["groups"]] == [
        ("conv1", 8), ("conv2", 16), ("gemm1", 12)
    ]  # fmt: skip
    assert data["groups"][0]["producers"] == ["conv1"]
    assert data["groups"][0]["consumers"] == ["conv2"]
    (place,) = data["declined"]
    assert (place["node"], place["op"]) == ("gemm2", "Gemm")
    assert "output" in place["reason"]


def test_text_is_plain_in_a_pipe(run, model):
    text = run("inspect", model).stdout
    assert text.isascii()
    assert "\x1b" not in text
    lines = text.splitlines()
    assert lines[0] == f"{model}: 9 nodes, 1,726 parameters, 26,520 MACs"
    assert lines[2].split() == ["group", "width", "made", "by", "read", "by"]
    assert lines[3].split() == ["conv1", "8", "conv1", "conv2"]
    assert "left alone: 1 node" in lines
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize("name", ["a/very/long/" * 20 + "name", "[red]name[/red]", ":smile:", "né"])
def test_names_are_written_as_they_are(run, tmp_path, name):
    model = Chain().conv(8).node("Relu").conv(4).build()
    model.graph.node[0].name = name
    onnx.save(model, tmp_path / "m.onnx")
    assert name in run("inspect", tmp_path / "m.onnx").stdout


def test_names_cannot_steer_the_terminal(run, tmp_path):
    model = Chain().conv(8).node("Relu").conv(4).build()
    model.graph.node[0].name = "a\x1b[2Jb\nc"
    model.graph.node[2].name = "d\re"
    onnx.save(model, tmp_path / "m.onnx")
    text = run("inspect", tmp_path / "m.onnx").stdout
    assert "\x1b" not in text
    assert "\r" not in text
    assert "a\\x1b[2Jb\\nc" in text
    assert json.loads(run("inspect", tmp_path / "m.onnx", "--json").stdout)


def test_reasons_are_grouped_in_text_and_complete_in_json(run, tmp_path):
    chain = Chain(("n", 4, 8, 8))
    for _ in range(9):
        start = chain.value
        chain.conv(4, 3, pads=[1] * 4)
        chain.raw("Add", chain.value, start).node("Relu")
    onnx.save(chain.build(), tmp_path / "m.onnx")
    text = run("inspect", tmp_path / "m.onnx").stdout
    assert "left alone: 9 nodes" in text
    assert text.count("\n") < 12
    assert len(json.loads(run("inspect", tmp_path / "m.onnx", "--json").stdout)["declined"]) == 9


def test_what_costs_rest_on_is_a_warning_in_json(run, tmp_path):
    onnx.save(Chain(("n", 3, "h", "w")).conv(4).build(), tmp_path / "m.onnx")
    (line,) = json.loads(run("inspect", tmp_path / "m.onnx", "--json").stdout)["warnings"]
    assert line == OPEN


def test_nothing_to_do(run, tmp_path):
    onnx.save(Chain().node("Relu").build(), tmp_path / "m.onnx")
    assert "no group of channels can be removed" in run("inspect", tmp_path / "m.onnx").stdout


class TestSensitivity:
    def test_text(self, run, model):
        text = run("inspect", model, "--sensitivity", "--samples", 16).stdout
        lines = text.splitlines()
        headers = "group width params MACs error 25% error 50% error 75%"
        assert lines[2].split() == headers.split()
        assert lines[3].split()[:2] == ["conv1", "8"]
        assert "predicted on 16 synthetic inputs" in text
        assert sum(line.startswith("errors are mean squared errors") for line in lines) == 1
        assert not any(line.startswith("error:") for line in lines)
        assert "left alone: 1 node" in lines
        assert text.isascii()

    def test_with_data(self, run, model, data):
        args = [
            "--sensitivity",
            "--data",
            data,
            "--scale",
            255,
            "--mean",
            0.5,
            "--std",
            0.2,
            0.2,
            0.3,
        ]
        text = run("inspect", model, *args).stdout
        assert "drop: points of top-1 accuracy lost, measured on 20 inputs of" in text

    def test_json(self, run, model):
        result = run("inspect", model, "--sensitivity", "--samples", 16, "--json")
        found = json.loads(result.stdout)["sensitivity"]
        assert [group["name"] for group in found["groups"]] == ["conv1", "conv2", "gemm1"]
        assert len(found["groups"][0]["error"]) == len(found["ratios"]) == 3
        assert found["measure"] is None

    def test_its_options_alone_are_an_error(self, fails, model, data):
        assert "--data belongs to --sensitivity" in fails("inspect", model, "--data", data)


def test_what_macs_rest_on_is_said(run, tmp_path):
    onnx.save(Chain(("n", 3, "h", "w")).conv(8).node("Relu").conv(4).build(), tmp_path / "m.onnx")
    lines = run("inspect", tmp_path / "m.onnx").stdout.splitlines()
    assert lines[1] == OPEN
    data = json.loads(run("inspect", tmp_path / "m.onnx", "--json").stdout)
    assert (data["assumed"], data["uncounted"]) == ({"input": [1, 3, 224, 224]}, [])
