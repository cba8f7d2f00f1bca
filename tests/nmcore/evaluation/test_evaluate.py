"""Accuracy, agreement and deviation, whatever a model thinks of batches."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from chain import Chain
from nmcore.data.dataset import Dataset
from nmcore.errors import DataError, ModelError
from nmcore.evaluation.evaluate import evaluate

OPTIONS = {"providers": ("cpu",), "threads": 1, "runs": 1}


@pytest.fixture
def saved(tmp_path):
    def save(chain, name="m.onnx", outputs=(), **options):
        onnx.save(chain.build(*outputs, **options), tmp_path / name)
        return tmp_path / name

    return save


def picks(*shape, weight=None):
    """A model whose scores are its four inputs, in another order or of another strength."""
    chain = Chain(shape)
    return chain.node("MatMul", np.eye(4, dtype=np.float32) if weight is None else weight)


def scores(*classes):
    return np.eye(4, dtype=np.float32)[list(classes)]


class TestAccuracy:
    def test_top1_counts_what_y_says(self, saved):
        data = Dataset("d", scores(0, 1, 2, 3, 3), np.array([0, 1, 2, 0, 0]))
        (one,) = evaluate([saved(picks("n", 4))], data, **OPTIONS)
        assert (one.n, one.top1) == (5, 60.0)
        assert (one.agreement, one.deviation) == (None, None)
        assert one.latency_ms > 0
        assert (one.params, one.macs) == (16, 16)
        assert (one.provider, one.threads, one.latency_batch) == ("cpu", 1, 1)

    def test_labels_that_can_hardly_be_right_are_told(self, saved):
        best = np.arange(40) % 4
        for y, told in ((best, False), ((best + 1) % 4, True)):
            lines = []
            data = Dataset("d", scores(*best), y)
            evaluate([saved(picks("n", 4))], data, **OPTIONS | {"notify": lines.append})
            assert any("is right on 0.00 % of 40 inputs" in line for line in lines) == told

    def test_lost_classes_are_told(self, saved):
        """Of the accuracy where there are labels, else of the agreement; not of the first model."""
        turned = picks("n", 4, weight=np.eye(4, dtype=np.float32)[[1, 0, 2, 3]])
        files = [saved(picks("n", 4)), saved(turned, "turned.onnx")]
        for data, lost in (
            (Dataset("d", scores(0, 1, 2), np.array([0, 1, 2])), ["top-1 is 33.33 %"]),
            (Dataset("d", scores(0, 1, 2)), ["33.33 % keep their top class"]),
            (Dataset("d", scores(0, 1, 2), np.array([1, 1, 2])), []),
            (Dataset("d", scores(0, 2, 2)), []),
        ):
            first, second = evaluate(files, data, **OPTIONS)
            assert list(first.lost) == []
            assert list(second.lost) == lost

    def test_without_y_there_is_no_accuracy(self, saved):
        (one,) = evaluate([saved(picks("n", 4))], Dataset("d", scores(0)), **OPTIONS)
        assert one.top1 is None

    def test_classes_that_the_model_does_not_have(self, saved):
        data = Dataset("d", scores(0, 1), np.array([0, 4]))
        with pytest.raises(DataError, match=r"classes of d go from 0 to 4, but .* gives 4 scores"):
            evaluate([saved(picks("n", 4))], data, **OPTIONS)

    def test_outputs_of_a_length_that_depends_on_numbers(self, saved):
        """As detectors have: so many rows as there are finds."""
        chain = picks("n", 4).node("NonZero").node("Cast", to=onnx.TensorProto.FLOAT)
        model = saved(chain, check=False)
        data = Dataset("d", np.triu(np.ones((4, 4), np.float32)))
        _, other = evaluate([model, model], data, **OPTIONS)
        assert (other.n, other.top1, other.agreement, other.deviation) == (4, None, None, None)

    def test_scores_that_are_no_numbers_are_never_right(self, saved):
        x = scores(0, 0)
        x[1, 2] = np.nan
        data = Dataset("d", x, np.array([0, 2]))
        first, second = evaluate([saved(picks("n", 4))] * 2, data, **OPTIONS)
        assert (first.top1, second.agreement, second.deviation) == (50.0, 50.0, None)


class TestAgreement:
    def test_each_model_is_compared_with_the_first(self, saved):
        swapped = np.eye(4, dtype=np.float32)[[1, 0, 2, 3]]
        models = [
            saved(picks("n", 4)),
            saved(picks("n", 4, weight=swapped), "swapped.onnx"),
            saved(picks("n", 4, weight=2 * np.eye(4, dtype=np.float32)), "double.onnx"),
        ]
        first, second, third = evaluate(models, Dataset("d", scores(0, 1, 2, 3)), **OPTIONS)
        assert first.agreement is None
        assert second.agreement == 50.0
        assert (third.agreement, third.deviation) == (100.0, pytest.approx(100.0))

    def test_pictures_have_a_deviation_and_no_agreement(self, saved):
        models = [saved(Chain(("n", 3, 8, 8)).conv(5)), saved(Chain(("n", 3, 8, 8)).conv(5), "b")]
        x = np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype(np.float32)
        data = Dataset("d", x, np.array([0, 1, 2]))
        _, second = evaluate(models, data, **OPTIONS)
        assert (second.top1, second.agreement, second.deviation) == (None, None, 0.0)

    def test_outputs_behind_the_first_count_for_the_deviation_alone(self, saved):
        models = []
        for name, weight in (("one", 1), ("two", 2)):
            chain = picks("n", 4)
            first = chain.value
            chain.raw("Mul", first, chain.constant(np.float32(weight)))
            models.append(saved(chain, f"{name}.onnx", outputs=(first, chain.value)))
        _, second = evaluate(models, Dataset("d", scores(0, 1)), **OPTIONS)
        assert second.agreement == 100.0
        assert second.deviation == pytest.approx(100 / np.sqrt(2))

    def test_outputs_of_another_size_are_not_compared(self, saved):
        models = [saved(picks("n", 4)), saved(Chain(("n", 4)).gemm(7), "seven.onnx")]
        _, second = evaluate(models, Dataset("d", scores(0)), **OPTIONS)
        assert second.deviation is None


class TestBatches:
    @pytest.mark.parametrize("batch", [1, 3])
    def test_a_fixed_batch_gives_the_same(self, saved, batch):
        models = [saved(picks("n", 4)), saved(picks(batch, 4), "fixed.onnx")]
        data = Dataset("d", scores(0, 1, 2, 3, 0, 1, 2), np.arange(7) % 4)
        free, fixed = evaluate(models, data, **OPTIONS)
        assert (free.top1, fixed.top1) == (100.0, 100.0)
        assert (fixed.agreement, fixed.deviation) == (100.0, 0.0)
        assert fixed.latency_batch == batch

    @pytest.mark.parametrize("target", [[1, 4], [4]])
    def test_a_batch_that_only_claims_to_be_dynamic(self, saved, target):
        chain = picks("n", 4).node("Reshape", np.array(target))
        data = Dataset("d", scores(0, 1, 2), np.arange(3))
        (one,) = evaluate([saved(chain, check=False)], data, **OPTIONS)
        assert one.top1 == 100.0

    def test_more_inputs_than_one_batch(self, saved):
        classes = np.arange(600) % 4
        data = Dataset("d", scores(*classes), classes)
        seen = []

        def progress(text, starts):
            assert text == "evaluating"
            for chosen in starts:
                seen.append(chosen[0])
                yield chosen

        (one,) = evaluate([saved(picks("n", 4))], data, progress=progress, **OPTIONS)
        assert (one.n, one.top1, seen) == (600, 100.0, [0, 256, 512])

    def test_a_fixed_batch_without_one_part_an_input(self, saved):
        chain = picks(2, 4).node("Reshape", np.array([8]))
        with pytest.raises(ModelError, match=r"takes 2 inputs at a time, .* shape \(8,\)"):
            evaluate([saved(chain)], Dataset("d", scores(0)), **OPTIONS)


def test_data_that_does_not_fit(saved):
    with pytest.raises(DataError, match=r"x has shape \(2, 5\); the model's input 'input' needs"):
        evaluate([saved(picks("n", 4))], Dataset("d", np.zeros((2, 5), np.float32)), **OPTIONS)


def test_a_notice_is_told_once(saved, monkeypatch):
    providers = pytest.importorskip("nmcore_ort.providers")
    monkeypatch.setattr(providers, "cuda_problem", lambda: "no CUDA device was found")
    lines = []
    options = OPTIONS | {"providers": ("auto",), "notify": lines.append}
    evaluate([saved(picks("n", 4))] * 2, Dataset("d", scores(0)), **options)
    assert lines == ["running on the CPU: no CUDA device was found"]


def two_inputs(*, state=("n", 4)):
    """The sum of what two inputs hold."""
    model = Chain(("n", 4)).raw("Add", "input", "state").build(check=False)
    model.graph.input.append(
        onnx.helper.make_tensor_value_info("state", onnx.TensorProto.FLOAT, list(state))
    )
    return model


class TestSeveralInputs:
    @pytest.fixture
    def model(self, tmp_path):
        onnx.save(two_inputs(), tmp_path / "two.onnx")
        return tmp_path / "two.onnx"

    def npz(self, tmp_path, **arrays):
        np.savez(tmp_path / "d.npz", **arrays)
        return tmp_path / "d.npz"

    def test_arrays_have_the_names_of_inputs(self, model, tmp_path):
        zero = np.zeros((3, 4), np.float32)
        path = self.npz(tmp_path, input=zero, state=scores(0, 1, 2), y=np.array([0, 1, 3]))
        (one,) = evaluate([model], path, **OPTIONS)
        assert (one.n, one.top1, one.data) == (3, pytest.approx(200 / 3), str(path))
        (one,) = evaluate([model], path, samples=2, **OPTIONS)
        assert (one.n, one.top1) == (2, 100.0)

    def test_whole_inputs_have_one_more_axis_and_run_one_by_one(self, tmp_path):
        onnx.save(two_inputs(state=(4,)), tmp_path / "m.onnx")
        data = Dataset(
            "d", {"input": np.zeros((3, 4), np.float32), "state": scores(0, 1, 2)}, np.arange(3)
        )
        (one,) = evaluate([tmp_path / "m.onnx"], data, **OPTIONS)
        assert (one.n, one.top1, one.latency_batch) == (3, 100.0, 1)

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            (
                {"input": scores(0)},
                r"no array named state, float32 of shape \(n, 4\); .* each input: input, state$",
            ),
            ({"x": scores(0)}, "holds no array named input"),
            ({"input": scores(0), "state": scores(0, 1)}, r"one length, .* state \(2, 4\)"),
            (
                {"input": scores(0), "state": scores(0), "y": np.arange(2)},
                "one class number for each of the 1",
            ),
            ({"input": scores(0), "state": np.zeros((1, 5))}, r"state has shape \(1, 5\)"),
            ({"input": scores(0), "state": np.zeros((1, 4), complex)}, "state is complex128"),
        ],
    )
    def test_arrays_that_do_not_fit(self, model, tmp_path, arrays, message):
        with pytest.raises(DataError, match=message):
            evaluate([model], self.npz(tmp_path, **arrays), **OPTIONS)

    def test_a_mean_belongs_to_one_input(self, model, tmp_path):
        path = self.npz(tmp_path, input=scores(0), state=scores(0))
        with pytest.raises(DataError, match="models with one input"):
            evaluate([model], path, mean=[0.5], **OPTIONS)

    def test_made_inputs(self, model):
        _, second = evaluate([model, model], samples=5, **OPTIONS)
        assert (second.n, second.agreement, second.deviation) == (5, 100.0, 0.0)


class TestWithoutData:
    def test_models_are_compared_on_made_inputs(self, saved):
        models = [saved(Chain().conv(5)), saved(Chain(seed=1).conv(5), "other.onnx")]
        first, second = evaluate(models, **OPTIONS)
        assert (first.n, first.top1, first.data) == (64, None, None)
        assert second.deviation > 10

    def test_the_seed_decides(self, saved):
        models = [saved(Chain().conv(5)), saved(Chain(seed=1).conv(5), "other.onnx")]
        one, same, other = (
            evaluate(models, samples=4, seed=seed, **OPTIONS)[1].deviation for seed in (1, 1, 2)
        )
        assert one == same != other

    def test_a_fixed_batch(self, saved):
        models = [saved(picks(3, 4)), saved(picks(3, 4), "other.onnx")]
        _, second = evaluate(models, samples=9, **OPTIONS)
        assert (second.n, second.agreement) == (9, 100.0)


class TestFunctions:
    """What a function of the caller's own is given."""

    def seen(self, model, data):
        given = []

        def look(original, outputs, y):
            given[:] = outputs
            return 0.0

        evaluate([model], data, metric=look, **OPTIONS)
        return given

    def test_an_output_without_a_batch(self, saved):
        chain = picks("n", 4)
        first = chain.value
        total = chain.node("ReduceSum", keepdims=0).value
        model = saved(chain, outputs=(first, total), check=False)
        rows, sums = self.seen(model, Dataset("d", np.diag(np.arange(1, 5)).astype(np.float32)))
        assert rows.shape == (4, 4)
        assert sums.tolist() == [1, 2, 3, 4]

    def test_an_output_without_a_batch_of_a_fixed_one(self, saved):
        chain = picks(2, 4)
        first = chain.value
        total = chain.node("ReduceSum", keepdims=0).value
        model = saved(chain, outputs=(first, total), check=False)
        rows, sums = self.seen(model, Dataset("d", np.diag(np.arange(1, 5))[:3].astype(np.float32)))
        assert (rows.shape, sums.tolist()) == ((3, 4), [3, 3, 6])

    def test_lists_of_different_lengths(self, saved):
        chain = picks("n", 4).node("NonZero").node("Transpose", perm=[1, 0])
        chain.node("Cast", to=onnx.TensorProto.FLOAT)
        data = Dataset("d", np.tril(np.ones((4, 4), np.float32)))
        (found,) = self.seen(saved(chain, check=False), data)
        assert [row.shape for row in found] == [(1, 2), (2, 2), (3, 2), (4, 2)]


def test_a_mask_in_a_model_that_takes_one_input_at_once(tmp_path):
    """Where padding is looked for in several, the model fails."""
    chain = Chain(("n", 4)).raw("Mul", "input", "mask")
    model = chain.node("Reshape", np.array([1, 4])).build(check=False)
    model.graph.input.append(
        onnx.helper.make_tensor_value_info("mask", onnx.TensorProto.FLOAT, ["n", 4])
    )
    onnx.save(model, tmp_path / "m.onnx")
    mask = np.tril(np.ones((4, 4), np.float32))
    data = Dataset("d", {"input": scores(0, 0, 2, 3), "mask": mask}, np.array([0, 1, 2, 3]))
    (one,) = evaluate([tmp_path / "m.onnx"], data, **OPTIONS)
    assert (one.n, one.top1) == (4, 75.0)


def test_figures_that_are_none_are_told_as_such(saved):
    """Pictures that are the same have no finite ratio, and two vectors no neighbours."""
    model = saved(Chain(("n", 3, 8, 8)).conv(3))
    x = np.random.default_rng(0).random((2, 3, 8, 8), np.float32)
    _, second = evaluate([model, model], Dataset("d", x), metric="psnr", **OPTIONS)
    assert (second.metrics, len(second.told)) == ({"psnr": None}, 1)
    model = saved(picks("n", 4))
    _, second = evaluate([model, model], Dataset("d", scores(0, 1)), metric="cosine", **OPTIONS)
    assert second.metrics == {"cosine": 1.0, "neighbours": None}
