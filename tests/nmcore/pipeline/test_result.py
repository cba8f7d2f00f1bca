"""What a result hands over: the model in its forms, comparisons, and itself to other processes."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

import nmcore
from nmcore.errors import ArgumentError, DataError, ModelError
from small import small_network

CPU = ["CPUExecutionProvider"]


@pytest.fixture(scope="module")
def proto():
    return small_network().build()


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return {"x": rng.random((24, 3, 8, 8), np.float32), "y": rng.integers(0, 10, 24)}


@pytest.fixture(scope="module")
def result(proto, data):
    return nmcore.compress(proto, ratio=0.25, data=data["x"])


def test_the_model_comes_in_four_forms(result, data, tmp_path):
    proto = result.to_onnx()
    assert isinstance(proto, onnx.ModelProto)
    onnx.checker.check_model(proto, full_check=True)
    assert proto.SerializeToString() == result.serialize()
    result.save(tmp_path / "small.onnx")
    assert (tmp_path / "small.onnx").read_bytes() == result.serialize()
    session = result.session(providers=CPU)
    assert isinstance(session, onnxruntime.InferenceSession)
    saved = onnxruntime.InferenceSession(tmp_path / "small.onnx", providers=CPU)
    feeds = {"input": data["x"]}
    np.testing.assert_array_equal(session.run(None, feeds)[0], saved.run(None, feeds)[0])
    assert session.get_providers() == CPU
    assert result.session().run(None, feeds)[0].shape == (24, 10)


def test_what_is_handed_over_is_the_callers_own(result):
    before = result.serialize()
    result.to_onnx().graph.node[0].name = "mine"
    assert result.serialize() == before


def test_files_bytes_and_objects_give_the_same(proto, data, tmp_path):
    content = proto.SerializeToString()
    (tmp_path / "model.onnx").write_bytes(content)
    models = [tmp_path / "model.onnx", str(tmp_path / "model.onnx"), content, proto]
    small = [nmcore.compress(model, ratio=0.5, method="merge").serialize() for model in models]
    assert small == [small[0]] * 4
    seen = [nmcore.inspect(model).to_dict() | {"model": ""} for model in models]
    assert seen == [seen[0]] * 4
    found = nmcore.evaluate(models, data, runs=1)
    assert [each.agreement for each in found] == [None, 100, 100, 100]
    assert [each.model for each in found] == [*map(str, models[:2]), "model 3", "model 4"]
    assert {each.bytes for each in found[:3]} == {len(content)}
    told = [nmcore.sensitivity(model, samples=32).to_dict() for model in models]
    assert told == [told[0]] * 4
    records = nmcore.sweep([content, proto], methods=["merge"], out_dir=tmp_path)
    assert records[0].params == nmcore.inspect(small[0]).params
    assert records[0].model == "model 1"
    assert any(path.read_bytes() == small[0] for path in tmp_path.glob("model-1-*.onnx"))


def test_bytes_that_are_no_model_are_told_of():
    for content in (b"", b"no model"):
        with pytest.raises(ModelError, match="the model"):
            nmcore.compress(content)
    with pytest.raises(ModelError, match="bytearray"):
        nmcore.inspect(bytearray(b""))
    with pytest.raises(ArgumentError, match="models is empty"):
        nmcore.evaluate([])


def test_a_plan_of_a_file_fits_its_content(proto, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    first = nmcore.compress(path, method="merge")
    again = nmcore.compress(path.read_bytes(), plan=first.plan)
    assert again.serialize() == first.serialize()


def test_results_are_compared_by_any_data_and_measure(result, data):
    found = result.compare(data)
    assert found.n == 24
    assert found.top1_after is not None
    assert f"top-1 {found.top1_after:.2f} % ({found.top1_before:.2f} before)" in repr(found)
    assert found.to_dict()["metrics"] == dict(found.metrics)
    deviation = result.compare(data["x"] * 2, metric="deviation", samples=9)
    assert (deviation.n, [*deviation.metrics]) == (9, ["deviation"])
    mine = result.compare(data, metric=lambda original, outputs, y: float(len(y)))
    assert mine.metrics == {"<lambda>": 24.0}
    assert result.compare() is result.fidelity
    assert [*result.compare(metric="agreement").metrics] == ["agreement"]


def test_wrong_comparisons_are_told_of(result):
    with pytest.raises(ArgumentError, match="samples is of data, which is missing"):
        result.compare(samples=3)
    with pytest.raises(DataError, match=r"does not fit|shape"):
        result.compare(np.zeros((4, 3, 9), np.float32))
    with pytest.raises(ArgumentError, match="metric is 'nope'"):
        result.compare(metric="nope")


def test_raw_inputs_go_through_what_the_result_was_made_with(proto, data):
    raw = (data["x"] * 255).astype(np.uint8)
    result = nmcore.compress(proto, method="merge", data=raw, scale=255)
    scaled = raw.astype(np.float32) / 255
    plain = nmcore.compress(proto, method="merge")
    np.testing.assert_allclose(result.compare(raw).deviation, plain.compare(scaled).deviation)
    assert result.compare(raw, scale=1).deviation != result.compare(raw).deviation


@pytest.mark.parametrize("way", [lambda x: x, lambda x: 4 * x - 2])
def test_what_was_scaled_before_is_not_scaled_again(proto, data, way):
    result = nmcore.compress(proto, method="merge", scale=255)
    scaled = way(data["x"])
    with pytest.raises(DataError, match=r"would be scaled again .*; scale=1 takes it as it is"):
        result.compare(scaled)
    plain = nmcore.compress(proto, method="merge")
    assert result.compare(scaled, scale=1).deviation == plain.compare(scaled).deviation


@pytest.mark.parametrize("path", [None, "", 3])
def test_what_is_no_name_of_a_file(result, path):
    for save in (result.save, result.save_report, result.plan.save):
        with pytest.raises(ArgumentError, match="the name of a file is needed"):
            save(path)


@pytest.mark.parametrize(
    ("metric", "words"),
    [("iou", "metric iou compares"), (["top1", "mae", "ctc"], "metric mae and ctc compare")],
)
def test_one_model_has_none_to_be_compared_with(proto, metric, words):
    with pytest.raises(ArgumentError, match=f"{words} models with the first one; a second model"):
        nmcore.evaluate(proto, metric=metric)


READING = """
import pickle, sys
result = pickle.loads(sys.stdin.buffer.read())
print(result.fidelity.deviation, result.after.params)
"""


@pytest.mark.parametrize("form", ["path", "object"])
def test_results_go_to_other_processes(form, proto, data, tmp_path):
    model = proto
    if form == "path":
        model = tmp_path / "model.onnx"
        model.write_bytes(proto.SerializeToString())
    result = nmcore.compress(model, ratio=0.25, data=data, metric="top1")
    pickled = pickle.dumps(result)
    copy = pickle.loads(pickled)
    assert copy.serialize() == result.serialize()
    assert repr(copy) == repr(result)
    assert copy.report.to_dict() == result.report.to_dict()
    assert copy.compare(data).to_dict() == result.compare(data).to_dict()
    copy.save(tmp_path / "small.onnx")
    assert (tmp_path / "small.onnx").read_bytes() == result.serialize()
    assert pickle.loads(pickle.dumps(copy)).plan == result.plan
    if form == "path":
        done = subprocess.run(
            [sys.executable, "-c", READING], input=pickled, stdout=subprocess.PIPE, check=True
        )
        there = [str(result.fidelity.deviation), str(result.after.params)]
        assert done.stdout.decode().split() == there


def test_a_pickled_result_without_its_original_still_holds_the_model(proto, data, tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(proto.SerializeToString())
    result = nmcore.compress(model, method="merge", data=data)
    pickled = pickle.dumps(result)
    model.unlink()
    copy = pickle.loads(pickled)
    assert copy.serialize() == result.serialize()
    with pytest.raises(ModelError, match=r"model\.onnx does not exist"):
        copy.compare(data)


def test_a_result_read_back_spares_the_originals_weights(proto, data, tmp_path):
    """Saved over the original, it may have to go on reading what lies beside it."""
    path = tmp_path / "model.onnx"
    copy = onnx.ModelProto.FromString(proto.SerializeToString())
    onnx.save_model(
        copy, path, save_as_external_data=True, location="model.onnx.data", size_threshold=0
    )
    copy = pickle.loads(pickle.dumps(nmcore.compress(path, method="merge")))
    copy.save(path)
    assert (tmp_path / "model.onnx.data").is_file()


def test_the_account_is_readable(proto):
    seen = nmcore.inspect(proto)
    assert [group.width for group in seen.groups] == [8, 16, 12]
    text = repr(seen)
    assert text.startswith(f"model 1: {seen.nodes} nodes, {seen.params:,} parameters")
    assert all(group.name in text for group in seen.groups)
    assert "left alone: 1 node" in text
    assert seen.groups[0].name in seen._repr_html_()
    (found,) = nmcore.evaluate(proto, runs=1)
    assert repr(found).startswith("Evaluation(model 1: ")
    assert f"{found.params:,} parameters" in repr(found)
    assert found.to_dict()["params"] == seen.params


def test_other_libraries_log_nothing_at_info(proto, caplog):
    with caplog.at_level(logging.INFO):
        result = nmcore.compress(proto, samples=32)
        result.compare()
        nmcore.evaluate(proto, samples=8, runs=1)
    assert caplog.records == []
    assert any("moments" in outcome.plan.method for outcome in result.outcomes)
