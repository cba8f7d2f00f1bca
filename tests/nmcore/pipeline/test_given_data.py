"""Data in every form that a caller may hold it in: the same result as from a file."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import pytest

import nmcore
from chain import Chain
from nmcore.data import finite
from nmcore.data.dataset import Dataset
from nmcore.data.loading import in_memory
from nmcore.data.normalisation import normalisation
from nmcore.data.preprocessing import PREPROCESSING, changed
from nmcore.errors import ArgumentError, DataError
from nmcore.evaluation.evaluate import evaluate
from nmcore.utils.logs import NOTICES, tell

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (24, 3, 8, 8), np.uint8)
Y = RNG.integers(0, 10, 24)
FORM = {"scale": 255, "mean": [0.4, 0.5, 0.6], "std": 0.25}


@pytest.fixture
def file(tmp_path):
    np.savez(tmp_path / "d.npz", x=X, y=Y)
    return tmp_path / "d.npz"


def kept(model, **options):
    return nmcore.compress(model, ratio=0.5, providers="cpu", **options).graph.serialize()


IN_MEMORY = [X, {"x": X}, {"x": X, "y": Y}, {"input": X, "y": list(Y)}, {"x": X, "more": Y}]


@pytest.mark.parametrize("data", IN_MEMORY)
def test_compress(model, file, data):
    assert kept(model, data=data, **FORM) == kept(model, data=file, **FORM)


def test_a_dataset_goes_through_what_the_options_say(model, file):
    given = Dataset("mine", X, Y)
    own = Dataset("mine", X, Y, normalisation(**FORM))
    expected = kept(model, data=file, **FORM)
    assert kept(model, data=given, **FORM) == kept(model, data=own) == expected
    assert kept(model, data=given) != expected
    options = {"providers": "cpu", "runs": 1}
    (first,), (second,) = (
        evaluate(model, data, **options, **FORM) for data in (file, Dataset("mine", X, Y))
    )
    assert (first.n, first.top1) == (second.n, second.top1)


def test_two_normalisations_of_the_same_data(model):
    own = Dataset("mine", X, Y, normalisation(**FORM))
    assert kept(model, data=own, **FORM) == kept(model, data=own)
    for function in (nmcore.compress, nmcore.sensitivity, evaluate):
        with pytest.raises(DataError, match="mine has a normalisation of its own; leave out"):
            function(model, data=own, scale=2)
    for feeds in ([{"input": X}], iter([{"input": X}])):
        with pytest.raises(DataError, match="data is fed as it is; leave out scale, mean and std"):
            evaluate(model, feeds, scale=2)


@pytest.mark.parametrize("name", PREPROCESSING)
def test_a_preprocessing_by_name(model, file, name):
    steps = PREPROCESSING[name]
    numbers = {"scale": steps.scale, "mean": steps.mean, "std": steps.std}
    form = numbers | {"preprocess": changed(steps.form) or None}
    by_name, spelt_out = (
        nmcore.compress(model, data=file, **f) for f in ({"preprocess": name}, form)
    )
    assert by_name.graph.serialize() == spelt_out.graph.serialize()
    assert by_name.plan.options == spelt_out.plan.options
    (one,), (other,) = (evaluate(model, file, runs=1, **f) for f in ({"preprocess": name}, form))
    assert one.top1 == other.top1


@pytest.mark.parametrize("function", [nmcore.compress, nmcore.sensitivity, evaluate, nmcore.sweep])
def test_a_preprocessing_that_is_none(model, file, function):
    given = {"evaluate_data" if function is nmcore.sweep else "data": file}
    with pytest.raises(ArgumentError, match="preprocess is 'vgg'; one of imagenet, clip, unit, mi"):
        function(model, preprocess="vgg", **given)
    with pytest.raises(ArgumentError, match="preprocess and std were given; leave out either"):
        function(model, preprocess="unit", std=2, **given)


def test_what_turns_itself_into_an_array(model, file):
    class Tensor:
        def __array__(self, dtype=None, copy=None):
            return X if dtype is None else X.astype(dtype)

    assert kept(model, data=Tensor(), **FORM) == kept(model, data=file, **FORM)


def test_a_plan_knows_arrays_again(model):
    result = nmcore.compress(model, ratio=0.5, data=X, **FORM)
    again = nmcore.compress(model, plan=result.plan, data={"x": X})
    assert again.graph.serialize() == result.graph.serialize()
    assert result.plan.call.startswith("nmcore.compress('model.onnx', ratio=0.5")
    assert result.plan.call.endswith("data=ndarray)")
    with pytest.raises(ArgumentError, match="made with data an object in memory"):
        nmcore.compress(model, plan=result.plan, data=X[:, ::-1])


def test_max_drop_wants_inputs_that_tell_a_loss(model):
    with pytest.raises(DataError, match=r"max-drop cannot be judged: .* on 2 inputs .* more data"):
        nmcore.compress(model, max_drop=5, data={"x": X[:4]}, **FORM)


def test_max_drop(model):
    result = nmcore.compress(model, max_drop=99, data={"x": X, "y": Y}, **FORM)
    assert "of data that nothing was measured on" in result.notes[0]
    told = result.fidelity
    assert (told.n, told.held) == (12, True)
    lost = told.top1_before - told.top1_after
    assert lost == pytest.approx(result.budget.reached)


def test_sensitivity(model, file):
    expected, found = (
        nmcore.sensitivity(model, data=data, providers="cpu", **FORM)
        for data in (file, {"x": X, "y": Y})
    )
    assert found.groups == expected.groups
    assert found.source == "24 inputs of data"


@pytest.mark.parametrize("samples", [None, 7])
def test_evaluate(model, file, samples):
    from_file, from_memory = (
        evaluate(model, data, samples=samples, runs=1, **FORM)[0]
        for data in (file, {"x": X, "y": Y})
    )
    assert from_memory.top1 == from_file.top1
    assert (from_memory.n, from_memory.data) == (samples or 24, "data")
    (dataset,) = evaluate(model, Dataset("d", X), samples=samples, runs=1)
    assert dataset.n == (samples or 24)


def test_several_inputs(tmp_path):
    chain = Chain(("n", 4))
    graph = chain.raw("Add", "input", "other").gemm(3, 4).build(check=False)
    graph.graph.input.append(
        onnx.helper.make_tensor_value_info("other", onnx.TensorProto.FLOAT, ["n", 4])
    )
    path = tmp_path / "two.onnx"
    onnx.save(graph, path)
    x = RNG.standard_normal((9, 4)).astype(np.float32)
    (found,) = evaluate(path, {"input": x, "other": -x, "y": np.zeros(9, int)}, runs=1)
    assert (found.n, found.data) == (9, "data")
    assert found.top1 is not None
    for data, message in (
        ({"input": x}, "data holds no array named other"),
        (x, "data holds no array named input"),
        ({"input": x, "other": x[:3]}, r"of one length.*other \(3, 4\)"),
        ({"input": x, "other": np.where(x > 1, np.nan, x)}, "data: other holds NaN or infinity"),
    ):
        with pytest.raises(DataError, match=message):
            evaluate(path, data, runs=1)


def test_picture_files(model, tmp_path):
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path / "pictures"
    folder.mkdir()
    paths = [folder / f"{k}.png" for k in range(6)]
    for path, x in zip(paths, X, strict=False):
        image.fromarray(np.moveaxis(x, 0, -1)).save(path)
    expected = kept(model, data=folder, **FORM)
    assert kept(model, data=paths, **FORM) == kept(model, data=list(map(str, paths)), **FORM)
    assert kept(model, data=paths, **FORM) == expected
    (found,) = evaluate(model, paths, runs=1, **FORM)
    assert (found.n, found.data) == (6, "6 pictures")
    *_, whole = evaluate([model] * 2, folder, providers=("cpu",), runs=1)
    assert (whole.n, whole.data, whole.agreement) == (6, str(folder), 100.0)
    with pytest.raises(DataError, match=r"none.png does not exist"):
        kept(model, data=[folder / "none.png"], **FORM)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, "data is of type int; a file, an array, a mapping of arrays, a list of picture"),
        (
            {},
            r"data holds no array named input or x, float32 of shape \(n, 3, 8, 8\); it holds noth",
        ),
        ({"a": X, "b": X}, r"data holds no array named input or x, .*; it holds a, b$"),
        ({"x": "d.npz"}, "data: x is of type str"),
        ({"x": [[1, 2], [3]]}, "data: x is of type list"),
        (X[:0], r"data: x holds no input, it is of shape \(0, 3, 8, 8\)"),
        ({"x": X, "y": Y[:3]}, r"data: y has shape \(3,\)"),
        (np.zeros((5, 3, 9, 9)), r"data: x has shape \(5, 3, 9, 9\); the model's input"),
    ],
)
def test_what_cannot_be_data(model, data, message):
    with pytest.raises(DataError, match=message):
        nmcore.compress(model, data=data)


class TestNumbersThatAreNone:
    @pytest.fixture
    def broken(self):
        x = X.astype(np.float32)
        x[3, 0, 0, :2] = np.nan
        x[7, 0, 0, 0] = -np.inf
        return x

    MESSAGE = r"x holds NaN or infinity: 3 numbers, in 2 of 24 inputs, the first of which is number"

    def test_in_a_file(self, model, broken, tmp_path):
        path = tmp_path / "broken.npz"
        np.savez(path, x=broken)
        message = f"^{path}: {self.MESSAGE} 3 "
        for use in (
            lambda: nmcore.compress(model, data=path),
            lambda: nmcore.sensitivity(model, data=path),
            lambda: evaluate(model, path, runs=1),
        ):
            with pytest.raises(DataError, match=message):
                use()

    def test_in_memory(self, broken):
        with pytest.raises(DataError, match=f"^data: {self.MESSAGE}"):
            in_memory(broken)

    def test_many_numbers_are_looked_through_in_parts(self, broken, monkeypatch):
        monkeypatch.setattr(finite, "_CHUNK", 200)
        with pytest.raises(DataError, match=f"^data: {self.MESSAGE} 3 "):
            in_memory({"x": broken})
        assert len(in_memory(broken[:3])) == 3


class TestScale:
    """What is probably another scale than the network was trained on, and what is not."""

    BYTES = "x holds bytes and is taken as it is"
    TWICE = "x lies from 0 to 1 before it is divided by --scale"
    AGAIN = "x lies from -2 to 3.1 before it is divided by --scale"
    UNIT = (X / np.float32(255)).astype(np.float32)

    @pytest.mark.parametrize(
        ("x", "options", "told"),
        [
            (X, {}, BYTES),
            (X.astype(np.float32), {}, BYTES),
            (X, FORM, None),
            (UNIT, {}, None),
            (UNIT, FORM, TWICE),
            (np.float32(5.1) * UNIT - 2, FORM, AGAIN),
            (X.astype(np.float32) - 100, {}, None),
            ((X // 8).astype(np.float32), {}, None),
            (X + np.float32(0.5), {}, None),
        ],
    )
    def test_it_is_said(self, model, monkeypatch, x, options, told):
        heard = []

        class Hearing(logging.Handler):
            def emit(self, record):
                heard.append(record.getMessage())

        # The command line, which other tests may have called, sets up the same logger.
        notices = logging.getLogger(NOTICES)
        monkeypatch.setattr(notices, "handlers", [Hearing()])
        monkeypatch.setattr(notices, "propagate", False)
        monkeypatch.setattr(notices, "level", logging.WARNING)
        monkeypatch.setattr(notices, "_cache", {})
        result = nmcore.compress(model, data=x, **options)
        seen = [result.warnings]
        for judge in (
            lambda: evaluate(model, x, runs=1, **options),
            lambda: result.compare(x, **options),
        ):
            tell.cache_clear()
            heard.clear()
            judge()
            seen.append([*heard])
        for found in seen:
            doubts = [line for line in found if line.startswith("x ")]
            assert [line.startswith(told or "") for line in doubts] == [True] * bool(told)

    def test_a_model_that_prepares_bytes_itself(self):
        chain = Chain().node("Sub", np.float32(127)).node("Div", np.float32(128)).conv(8)
        graph = chain.node("Relu").conv(4).build()
        warnings = nmcore.compress(graph, data=X.astype(np.float32)).warnings
        assert not [line for line in warnings if line.startswith("x ")]


class TestFewInputs:
    @pytest.mark.parametrize(
        ("count", "told"), [(1, "measured on one input, "), (94, "measured on 63 inputs, ")]
    )
    def test_they_are_warned_of(self, model, count, told):
        x = RNG.standard_normal((count, 3, 8, 8)).astype(np.float32)
        result = nmcore.compress(model, data=x)
        assert result.cautions[0].startswith(told)
        assert result.cautions[0] in result.warnings

    def test_enough_are_not(self, model):
        x = RNG.standard_normal((96, 3, 8, 8)).astype(np.float32)
        assert nmcore.compress(model, data=x).cautions == ()

    def test_copies_of_one_measure_nothing(self, model):
        with pytest.raises(DataError, match="data: the 9 inputs to measure on are all the same"):
            nmcore.compress(model, data=np.ones((9, 3, 8, 8), np.float32))
