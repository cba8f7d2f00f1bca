"""``nmcore inspect``."""

from __future__ import annotations

import json

import onnx
import pytest

from chain import Chain


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


def test_nothing_to_do(run, tmp_path):
    onnx.save(Chain().node("Relu").build(), tmp_path / "m.onnx")
    assert "no group of channels can be removed" in run("inspect", tmp_path / "m.onnx").stdout
