"""Models with several inputs, whose data is given by their names."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import nmcore
from encoder import NAMES, encoder, padded, texts
from nmcore.errors import ArgumentError, DataError
from nmcore.evaluation.evaluate import evaluate


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "encoder.onnx"
    onnx.save(encoder(), path)
    return path


@pytest.fixture
def npz(tmp_path):
    def save(name="texts.npz", leave_out=(), **more):
        arrays = padded(texts(45)) | more
        np.savez(tmp_path / name, **{k: v for k, v in arrays.items() if k not in leave_out})
        return tmp_path / name

    return save


def test_compress_inspect_evaluate_and_sweep(run, model, npz, tmp_path):
    data, small = npz(unread=np.arange(3)), tmp_path / "small.onnx"
    result = run("compress", model, small, "--ratio", 0.5, "--data", data, "--json", "-q")
    found = json.loads(result.stdout)
    told = (
        f"measured on 45 inputs of {data}, without the padding that attention_mask marks, and 315"
    )
    assert f"{told} spliced from them" in found["notes"]
    assert found["fidelity"]["n"] == 45
    assert 0 < found["fidelity"]["deviation"] < 50
    first, second = json.loads(run("evaluate", model, small, "--data", data, "--json").stdout)
    assert (first["n"], first["deviation"]) == (45, None)
    assert second["deviation"] == pytest.approx(found["fidelity"]["deviation"])
    result = run("inspect", model, "--sensitivity", "--data", data, "--samples", 30, "--json", "-q")
    assert json.loads(result.stdout)["sensitivity"]["measured_on"] == f"30 inputs of {data}"
    args = ["--results", tmp_path / "r.json", "--data", data, "--evaluate-data", data, "--json"]
    (record,) = json.loads(run("sweep", model, *args, "-q").stdout)
    assert (record["error"], record["n"]) == (None, 45)


def test_budgets_that_time_and_judge(run, model, npz, tmp_path):
    data, out = npz(), tmp_path / "small.onnx"
    run("compress", model, out, "--latency", 1, "--data", data, "-q")
    args = [model, out, "--max-drop", 5, "--data", data, "--json", "-q"]
    found = json.loads(run("compress", *args).stdout)
    assert found["notes"][0].startswith("cosine to the original's vectors, in hundredths, ")
    assert 0 < found["budget"]["reached"] <= 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"leave_out": ["attention_mask"]},
            "holds no array named attention_mask, int64 of shape (n, ?); it holds input_ids, "
            "token_type_ids; the model needs an array of the name of each input: "
            "input_ids, attention_mask, token_type_ids",
        ),
        (
            {"input_ids": np.zeros((3, 12), np.int64)},
            ": arrays of one length, above 0, are needed; it holds input_ids (3, 12), "
            "attention_mask (45, 12), token_type_ids (45, 12)",
        ),
        (
            {"input_ids": np.zeros((45, 12))},
            ": input_ids is float64; the model's input 'input_ids' takes int64",
        ),
        ({"y": np.zeros(3, np.int64)}, ": y has shape (3,); one class number for each of the 45"),
    ],
)
def test_what_does_not_fit(fails, model, npz, tmp_path, changes, message):
    data = npz(**changes)
    for args in (
        ["compress", model, tmp_path / "out.onnx", "--data", data],
        ["inspect", model, "--sensitivity", "--data", data],
        ["evaluate", model, "--data", data],
    ):
        assert f"{data}{message if message[0] == ':' else f' {message}'}" in fails(*args)


def test_ids_of_another_type(run, fails, npz, tmp_path):
    path, out = tmp_path / "int32.onnx", tmp_path / "small.onnx"
    onnx.save(encoder(ids=TensorProto.INT32), path)
    run("compress", path, out, "--data", npz(), "-q")
    large = padded(texts(45))["input_ids"] + 2**40
    line = fails("compress", path, tmp_path / "o.onnx", "--data", npz("l.npz", input_ids=large))
    assert "input_ids holds numbers from" in line
    assert line.endswith("takes int32")


def test_an_input_with_a_default_may_be_left_out(run, npz, tmp_path):
    path, out = tmp_path / "default.onnx", tmp_path / "small.onnx"
    onnx.save(encoder(optional_types=True), path)
    run("compress", path, out, "--data", npz(leave_out=["token_type_ids"]), "--verify", "-q")
    run("compress", path, out, "--data", npz("all.npz"), "--verify", "-q")


class TestFeeds:
    """Texts of different lengths, none of them padded."""

    def test_in_every_form(self, model):
        class Reader:
            def __init__(self):
                self.feeds = iter(texts(70))

            def get_next(self):
                return next(self.feeds, None)

        options = {"ratio": 0.5, "providers": "cpu"}
        results = [
            nmcore.compress(model, data=data, **options).graph.serialize()
            for data in (texts(70), (feed for feed in texts(70)), Reader())
        ]
        assert results[0] == results[1] == results[2]

    def test_they_are_measured_and_judged_on(self, model, tmp_path):
        result = nmcore.compress(model, ratio=0.5, data=texts(70), providers="cpu")
        assert "measured on 47 inputs of data, and 23 more to judge by" in result.notes
        result.save(tmp_path / "small.onnx")
        models = [model, tmp_path / "small.onnx"]
        _, found = evaluate(models, texts(30, seed=1), runs=1, providers="cpu")
        merged = nmcore.compress(model, ratio=0.5, method="merge")
        merged.save(tmp_path / "merged.onnx")
        models[1] = tmp_path / "merged.onnx"
        _, other = evaluate(models, texts(30, seed=1), runs=1, providers="cpu")
        assert (found.n, other.n) == (30, 30)
        assert found.deviation < other.deviation

    def test_sensitivity(self, model):
        found = nmcore.sensitivity(model, data=texts(40), providers="cpu")
        assert (found.source, found.measured_on) == ("40 inputs of data",) * 2

    def test_a_plan_knows_them_again(self, model):
        result = nmcore.compress(model, ratio=0.5, data=texts(70), providers="cpu")
        again = nmcore.compress(model, plan=result.plan, data=texts(70), providers="cpu")
        assert again.graph.serialize() == result.graph.serialize()
        with pytest.raises(ArgumentError, match="made with data an object in memory"):
            nmcore.compress(model, plan=result.plan, data=texts(70, seed=1))

    def test_a_missing_input(self, model):
        feeds = [{name: feed[name] for name in NAMES[:2]} for feed in texts(3)]
        with pytest.raises(DataError, match=r"^data holds no array named token_type_ids, int64 of"):
            nmcore.compress(model, data=feeds)

    def test_a_fixed_batch(self, tmp_path):
        path = tmp_path / "fixed.onnx"
        onnx.save(encoder(batch=4), path)
        result = nmcore.compress(path, ratio=0.5, data=texts(70, longest=5), providers="cpu")
        assert result.outcomes[-1].plan.method == "moments"
        with pytest.raises(DataError, match="takes 4 inputs of one shape at once"):
            nmcore.compress(path, data=texts(4)[:2] + texts(2, longest=30, seed=3))
