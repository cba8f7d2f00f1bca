"""``nmcore evaluate`` and ``nmcore bench``."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from chain import run as run_model
from encoder import encoder, padded, texts
from small import small_network


def accuracy(model, data, mean, std):
    x = np.load(data)["x"].astype(np.float32) / np.float32(255)
    shape = (1, -1, 1, 1)
    x = (x - np.float32(mean).reshape(shape)) / np.float32(std).reshape(shape)
    (scores,) = run_model(model.read_bytes(), {"input": x})
    return 100 * np.mean(scores.argmax(1) == np.load(data)["y"])


PREPARE = ["--scale", 255, "--mean", 0.49, 0.48, 0.44, "--std", 0.2, 0.2, 0.3]


def test_json_is_what_the_design_promises(run, model, data, tmp_path):
    small = tmp_path / "small.onnx"
    run("compress", model, small, "--ratio", 0.75)
    result = run("evaluate", model, small, "--data", data, *PREPARE, "--json", "--providers", "cpu")
    first, second = json.loads(result.stdout)
    assert result.stderr == ""
    assert first["model"] == str(model)
    assert (first["n"], first["params"], first["bytes"]) == (20, 1726, model.stat().st_size)
    assert first["top1"] == accuracy(model, data, [0.49, 0.48, 0.44], [0.2, 0.2, 0.3])
    assert first["agreement"] is None
    assert 0 <= second["agreement"] <= 100
    assert second["macs"] < first["macs"]
    assert first["latency_ms"] > 0


def test_one_model_without_classes_says_what_is_missing(run, model, data, tmp_path):
    told = "no figure: one model is judged by classes y; a second one is compared with the first"
    np.savez(tmp_path / "x.npz", x=np.load(data)["x"])
    assert told in run("evaluate", model, "--data", tmp_path / "x.npz").stdout
    assert told not in run("evaluate", model, "--data", data).stdout
    assert told not in run("evaluate", model, model).stdout


@pytest.mark.parametrize(
    "mean",
    [
        ["--mean", "0.49", "0.48", "0.44"],
        ["--mean", "0.49,0.48,0.44"],
        ["--mean=0.49,0.48,0.44"],
        ["--mean", "0.49,", "0.48,", "0.44"],
        ["--mean", "0.49", "--mean", "0.48", "--mean", "0.44"],
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_every_way_to_give_numbers(run, model, data, mean, first):
    rest = ["--data", data, "--scale", 255, "--std", 0.2, "--json", "--runs", 1]
    args = [*mean, *([model, *rest] if first else [*rest, model])]
    (result,) = json.loads(run("evaluate", *args).stdout)
    assert result["top1"] == accuracy(model, data, [0.49, 0.48, 0.44], [0.2])


def test_models_right_behind_the_numbers(run, model, data):
    args = ["--data", data, "--scale", 255, "--std", 0.5, "--mean", "-0.5", "-1e-1", ".3", model]
    (result,) = json.loads(run("evaluate", *args, "--json", "--runs", 1).stdout)
    assert result["top1"] == accuracy(model, data, [-0.5, -0.1, 0.3], [0.5])


def test_text(run, model, data):
    text = run("evaluate", model, model, "--data", data, "--samples", 7, "--runs", 1).stdout
    lines = text.splitlines()
    assert lines[0].split()[:3] == ["model", "top-1", "%"]
    assert lines[1].split()[0] == lines[2].split()[0] == str(model)
    assert lines[2].split()[2:4] == ["100.00", "0.00"]
    assert lines[4].startswith("7 inputs; latency: median of warm runs on cpu, ")
    assert lines[-2].startswith("agreement: percent of inputs with the same top class; deviation: ")
    assert lines[-1] == f"agreement and deviation: compared with {model}"


def test_without_data_inputs_are_made_and_that_is_said(run, model):
    text = run("evaluate", model, model, "--runs", 1).stdout
    assert "64 synthetic inputs; latency" in text
    assert "how alike models are, not how good" in text
    first, second = json.loads(run("evaluate", model, model, "--runs", 1, "--json").stdout)
    assert (first["data"], first["top1"], second["agreement"]) == (None, None, 100)


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (6, 3, 8, 8)])
def test_a_fixed_batch(run, model, data, tmp_path, shape):
    onnx.save(small_network(shape).build(), tmp_path / "fixed.onnx")
    args = ["--data", data, *PREPARE, "--json", "--runs", 1]
    first, fixed = json.loads(run("evaluate", model, tmp_path / "fixed.onnx", *args).stdout)
    assert fixed["top1"] == first["top1"]
    assert fixed["agreement"] == 100
    assert fixed["latency_batch"] == shape[0]


class TestBadInput:
    def test_data_of_another_shape_names_both(self, fails, model, tmp_path):
        np.savez(tmp_path / "d.npz", x=np.zeros((5, 3, 9, 9), np.uint8))
        line = fails("evaluate", model, "--data", tmp_path / "d.npz")
        assert "x has shape (5, 3, 9, 9); the model's input 'input' needs (n, 3, 8, 8)" in line

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--mean", "0.1", "0.2"], "mean or std has 2 numbers; x has shape (20, 3, 8, 8)"),
            (["--mean", "x"], "'x' is not a number or several"),
            (["--mean"], "requires an argument"),
            (["--std", "0"], "it divides, so it cannot be 0"),
            (["--samples", "0"], "0 is not in the range"),
            (["--providers", "tpu"], "provider 'tpu' is not known"),
            (["--threads", "0"], "0 is not in the range"),
        ],
    )
    def test_options(self, fails, model, data, options, message):
        assert message in fails("evaluate", model, "--data", data, *options)

    def test_missing_files_and_arguments(self, fails, model, data, tmp_path):
        assert "does not exist" in fails("evaluate", model, "--data", tmp_path / "none.npz")
        assert "holds no pictures" in fails("evaluate", model, "--data", tmp_path)
        assert "does not exist" in fails("evaluate", tmp_path / "none.onnx", "--data", data)
        assert "Missing argument 'MODEL...'" in fails("evaluate", "--data", data)

    def test_models_that_take_different_inputs(self, fails, model, tmp_path):
        other = tmp_path / "other.onnx"
        onnx.save(small_network(("n", 3, 9, 9)).build(), other)
        message = fails("evaluate", model, other)
        assert message.startswith(
            f"{other} does not take these inputs: synthetic inputs: input has"
        )

    def test_a_model_instead_of_data(self, fails, model):
        assert "is no .npz of plain arrays" in fails("evaluate", model, "--data", model)

    @pytest.mark.parametrize("name", ["one.jpg", "one.PNG", "one.wav"])
    def test_one_file_instead_of_a_folder(self, fails, model, tmp_path, name):
        path = tmp_path / name
        assert fails("evaluate", model, "--data", path) == f"{path} does not exist"
        path.write_bytes(b"any")
        message = fails("evaluate", model, "--data", path)
        assert message == f"{path} is one file; the folder that holds it is needed"


@pytest.fixture
def texts_npz(tmp_path):
    np.savez(tmp_path / "texts.npz", **padded(texts(40)))
    return tmp_path / "texts.npz"


@pytest.fixture
def encoders(run, tmp_path, texts_npz):
    """A text encoder and what became of it."""
    onnx.save(encoder(), tmp_path / "encoder.onnx")
    models = [tmp_path / "encoder.onnx", tmp_path / "smaller.onnx"]
    run("compress", *models, "--ratio", 0.5, "--method", "merge", "-q")
    return models


@pytest.mark.parametrize("command", ["compress", "inspect", "evaluate", "sweep"])
def test_a_preprocessing_by_name(run, model, data, tmp_path, command):
    args = {
        "compress": [model, tmp_path / "out.onnx", "--ratio", 0.5],
        "inspect": [model, "--sensitivity"],
        "evaluate": [model],
        "sweep": [model, "--results", tmp_path / "r.json"],
    }[command]
    args += ["--data", data, "--preprocess", "imagenet", "--json", "-q"]
    json.loads(run(command, *args).stdout)
    assert "leave out either" in run(command, *args, "--scale", 2, code=2).stderr


class TestMetrics:
    def test_vectors_are_never_called_classes(self, run, encoders, texts_npz):
        result = run("evaluate", *encoders, "--data", texts_npz, "--runs", 1)
        head, *_ = result.stdout.splitlines()
        assert head.split()[:6] == ["model", "deviation", "%", "cosine", "neighbours", "%"]
        assert "class" not in result.stdout.replace("and not for class scores", "")
        data = json.loads(run("evaluate", *encoders, "--data", texts_npz, "--json").stdout)
        first, second = data
        assert (first["form"], first["top1"], second["agreement"]) == ("vectors", None, None)
        assert first["metrics"] == dict.fromkeys(["deviation", "cosine", "neighbours"])
        assert second["metrics"]["deviation"] == second["deviation"] > 0
        assert second["metrics"]["cosine"] == pytest.approx(mean_cosine(encoders, texts_npz))

    def test_those_that_are_asked_for(self, run, model, data, tmp_path):
        small = tmp_path / "small.onnx"
        run("compress", model, small, "--ratio", 0.5, "-q")
        args = ["--data", data, "--metric", "top5", "--metric", "cosine", "--json"]
        first, second = json.loads(run("evaluate", model, small, *args).stdout)
        assert [*first["metrics"]] == ["top5", "cosine", "neighbours"]
        assert first["metrics"]["top5"] >= first["top1"]
        assert first["metrics"]["cosine"] is None
        assert -1 <= second["metrics"]["cosine"] <= 1

    def test_what_outputs_do_not_tell(self, fails, run, encoders, texts_npz):
        args = [*encoders, "--data", texts_npz, "--providers", "cpu", "--metric"]
        assert fails("evaluate", *args, "top5") == (
            "metric top5 needs class scores in the first output, and classes y"
        )
        assert "psnr needs a floating-point output of rank 4" in fails("evaluate", *args, "psnr")
        assert "'top9' is not one of 'top1'" in run("evaluate", *args, "top9", code=2).stderr

    def test_compress_tells_the_cosine(self, run, encoders, texts_npz, tmp_path):
        args = [encoders[0], tmp_path / "out.onnx", "--data", texts_npz]
        result = run("compress", *args)
        assert "cosine 0." in result.stdout
        assert "agreement" not in result.stdout
        page = tmp_path / "report.html"
        found = json.loads(run("compress", *args, "--json", "--report", page).stdout)["fidelity"]
        assert found["agreement"] is None
        assert 0.9 < found["metrics"]["cosine"] <= 1
        assert "Same top class" not in page.read_text()


def mean_cosine(models, path):
    """Of the means of the states of all words."""
    feeds = dict(np.load(path))
    mask = feeds["attention_mask"][..., None]
    one, other = (
        (run_model(model.read_bytes(), feeds)[0] * mask).sum(1) / mask.sum(1) for model in models
    )
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return ((one * other).sum(1) / norms).mean()


class TestBenchLatency:
    def test_text(self, run, model):
        lines = run("bench", "latency", model, model, "--runs", 3).stdout.splitlines()
        assert lines[0].split() == ["model", "median", "10", "%", "90", "%", "runs"]
        assert lines[1].split()[0] == str(model)
        assert lines[-1].startswith("latency: median of warm runs on ")

    def test_json(self, run, model):
        result = run("bench", "latency", model, "--runs", 3, "--threads", 1, "--json")
        (row,) = json.loads(result.stdout)
        assert (row["model"], row["threads"], row["runs"]) == (str(model), 1, 3)
        assert 0 < row["low_ms"] <= row["median_ms"] <= row["high_ms"]

    def test_bad_models(self, fails, tmp_path):
        (tmp_path / "bad.onnx").write_text("text")
        assert "does not load" in fails("bench", "latency", tmp_path / "bad.onnx")
        assert "does not" in fails("bench", "latency", tmp_path / "none.onnx")


class TestBenchKernels:
    ARGS = ("--size", "40x8,20", "--kernel", "numpy", "--peer", "double loop", "--repeats", 1)

    def test_text(self, run):
        text = run("bench", "kernels", *self.ARGS, "--no-memory").stdout
        assert text.isascii()
        assert "nmcore numpy" in text
        assert "double loop" in text

    def test_json(self, run):
        result = run("bench", "kernels", *self.ARGS, "--no-memory", "--json")
        names = [row["name"] for row in json.loads(result.stdout)["rows"]]
        assert names == ["sgemm of this machine", "nmcore numpy", "double loop"]

    def test_bad_sizes_and_names(self, fails):
        assert "need NxD,P" in fails("bench", "kernels", "--size", "big")
        assert "magic" in fails("bench", "kernels", "--peer", "magic")
