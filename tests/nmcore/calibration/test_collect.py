"""What networks are shown: calibration data spread over the file, or inputs made from nothing."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import nmcore
from chain import Chain
from nmcore.calibration import collect
from nmcore.calibration.calibration_set import from_data
from nmcore.calibration.collect import Inputs, probes_for
from nmcore.calibration.dead_leaves import dead_leaves
from nmcore.calibration.synthetic import synthesise
from nmcore.data.dataset import Dataset
from nmcore.data.normalisation import Normalisation
from nmcore.errors import DataError
from nmcore.plugins import registry
from nmcore.plugins.protocols import InputSpec


def spec(*shape, dtype=np.float32, name="input"):
    return InputSpec(name, shape, np.dtype(dtype))


def made(shape, count=4, dtype=np.float32, name="input", fixed=False, **options):
    declared = shape if fixed else (None, *shape[1:])
    found = synthesise([spec(*declared, dtype=dtype, name=name)], [shape], count, **options)
    return np.concatenate([batch[name] for batch in found.batches])


def numbered(count, *shape, dtype=np.float32):
    """Inputs that tell their place in the file."""
    x = np.zeros((count, *shape), dtype)
    x[:] = np.arange(count).reshape(-1, *[1] * len(shape))
    return Dataset("numbers.npz", x)


def places(found):
    return [int(x.ravel()[0]) for batch in found.batches for x in batch["input"]]


class TestMade:
    @pytest.mark.parametrize(
        "shape",
        [
            (1, 3, 16, 12),
            (1, 1, 8, 8),
            (1, 7, 8, 8),
            (1, 2, 30),
            (1, 1, 4, 5, 6),
            (1, 9),
            (1, 5, 6),
        ],
    )
    def test_shapes(self, shape):
        x = made(shape)
        assert x.shape == (4, *shape[1:])
        assert x.dtype == np.float32
        assert np.isfinite(x).all()
        assert 0.3 < x.std() < 3

    def test_the_seed_decides(self):
        one, same, other = (made((1, 3, 8, 8), seed=seed) for seed in (1, 1, 2))
        assert np.array_equal(one, same)
        assert not np.array_equal(one, other)

    def test_pictures_are_roughly_standard(self):
        x = made((1, 3, 16, 16), 64)
        leaves = dead_leaves(64, 3, (16, 16))
        np.testing.assert_allclose(x, (leaves - 0.45) / 0.25, rtol=1e-5, atol=1e-6)

    def test_a_normalisation_gets_raw_pixels(self):
        """The options say what is done to pixels from 0 to 255, so that is what they are given."""
        leaves = dead_leaves(4, 3, (8, 8))
        usual = Normalisation(255.0, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
        mean, std = (np.float32(v).reshape(3, 1, 1) for v in (usual.mean, usual.std))
        x = made((1, 3, 8, 8), normalisation=usual)
        np.testing.assert_allclose(x, (leaves - mean) / std, rtol=1e-4, atol=1e-5)
        none = made((1, 3, 8, 8), normalisation=Normalisation())
        np.testing.assert_allclose(none, 255 * leaves, rtol=1e-5)
        assert none.max() > 150

    def test_channels_last(self):
        first, last = made((1, 3, 8, 6)), made((1, 8, 6, 3))
        assert last.flags.c_contiguous
        assert np.array_equal(np.moveaxis(last, -1, 1), first)
        usual = Normalisation(255.0, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
        first, last = (made(s, normalisation=usual) for s in ((1, 3, 8, 6), (1, 8, 6, 3)))
        assert np.array_equal(np.moveaxis(last, -1, 1), first)

    def test_bytes_are_pixels(self):
        x = made((1, 3, 16, 16), dtype=np.uint8)
        assert x.dtype == np.uint8
        assert x.min() < 90
        assert x.max() > 165
        np.testing.assert_array_equal(x, (255 * dead_leaves(4, 3, (16, 16))).astype(np.uint8))

    @pytest.mark.parametrize("dtype", [np.float16, np.float64])
    def test_other_precisions(self, dtype):
        x = made((1, 3, 8, 8), dtype=dtype)
        assert x.dtype == dtype
        np.testing.assert_allclose(x, made((1, 3, 8, 8)), rtol=2e-3, atol=2e-3)

    @pytest.mark.parametrize("dtype", [np.int32, np.int64])
    def test_tokens(self, dtype):
        ids = made((1, 20), 16, dtype=dtype)
        assert ids.shape == (16, 20)
        assert ids.dtype == dtype
        assert ids.min() >= 0
        assert len(np.unique(ids)) > 5
        assert np.array_equal(ids, made((1, 20), 16, dtype=dtype))

    @pytest.mark.parametrize("name", ["attention_mask", "Mask", "padding_mask"])
    def test_masks_let_everything_through(self, name):
        assert (made((1, 20), dtype=np.int64, name=name) == 1).all()
        x = made((1, 20), dtype=bool, name="anything")
        assert x.dtype == bool
        assert x.all()

    def test_several_inputs_have_batches_of_one_length(self):
        specs = [
            spec(None, 5, dtype=np.int64, name="ids"),
            spec(None, 5, dtype=np.int64, name="mask"),
            spec(2, 3, 8, 8, name="picture"),
        ]
        found = synthesise(specs, [(1, 5), (1, 5), (2, 3, 8, 8)], 7)
        assert found.count == 6
        assert len(found.batches) == 3
        for batch in found.batches:
            assert [len(batch[each.name]) for each in specs] == [2, 2, 2]

    @pytest.mark.parametrize(
        ("fixed", "samples", "lengths"),
        [
            (None, 64, [64]),
            (None, 10, [10]),
            (None, 128, [64, 64]),
            (1, 3, [1, 1, 1]),
            (8, 20, [8, 8]),
            (8, 3, [8]),
        ],
    )
    def test_batches(self, fixed, samples, lengths):
        found = synthesise([spec(fixed, 6)], [(fixed or 1, 6)], samples)
        assert [len(batch["input"]) for batch in found.batches] == lengths
        assert found.count == sum(lengths)
        assert found.source == f"{sum(lengths)} synthetic inputs"
        assert not found.real

    def test_large_inputs_come_in_smaller_batches(self, monkeypatch):
        monkeypatch.setattr(collect, "_MAX_ELEMENTS", 100)
        found = synthesise([spec(None, 30)], [(1, 30)], 9)
        assert [len(batch["input"]) for batch in found.batches] == [3, 3, 3]
        found = synthesise([spec(None, 300)], [(1, 300)], 2)
        assert [len(batch["input"]) for batch in found.batches] == [1, 1]


class TestData:
    @pytest.mark.parametrize(
        ("count", "samples", "expected"),
        [
            (5, 5, [0, 1, 2, 3, 4]),
            (5, 99, [0, 1, 2, 3, 4]),
            (9, 5, [0, 2, 4, 6, 8]),
            (100, 2, [0, 99]),
            (100, 1, [0]),
            (1, 1, [0]),
        ],
    )
    def test_evenly_spread_over_the_file(self, count, samples, expected):
        found = from_data(numbered(count, 3), [spec(None, 3)], samples)
        assert places(found) == expected
        assert found.count == len(expected)
        assert found.real
        assert found.source == f"{len(expected)} input{'s' * (len(expected) > 1)} of numbers.npz"

    def test_many(self):
        found = from_data(numbered(1000, 2), [spec(None, 2)], 256)
        chosen = places(found)
        assert len(chosen) == len(set(chosen)) == 256
        assert (chosen[0], chosen[-1]) == (0, 999)
        assert set(np.diff(chosen)) <= {3, 4}
        assert [len(batch["input"]) for batch in found.batches] == [64] * 4

    @pytest.mark.parametrize(("fixed", "used"), [(1, 10), (4, 8), (5, 10)])
    def test_fixed_batches(self, fixed, used):
        found = from_data(numbered(10, 3), [spec(fixed, 3)], 10)
        assert {len(batch["input"]) for batch in found.batches} == {fixed}
        assert places(found) == list(range(used))
        assert found.count == used

    def test_nothing_is_left_out_where_any_batch_will_do(self):
        found = from_data(numbered(100, 3), [spec(None, 3)], 256)
        assert places(found) == list(range(100))

    def test_fewer_than_one_fixed_batch(self):
        with pytest.raises(DataError, match="8"):
            from_data(numbered(5, 3), [spec(8, 3)], 256)

    def test_normalised_once(self):
        pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)
        data = Dataset("d", pixels, None, Normalisation(255.0, (0.5,), (0.25,)))
        (batch,) = from_data(data, [spec(None, 3, 2, 2)], 2).batches
        np.testing.assert_allclose(batch["input"], (pixels / 255 - 0.5) / 0.25, rtol=1e-5)
        assert batch["input"].dtype == np.float32

    def test_channels_last_and_half_precision(self):
        pixels = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
        steps = Normalisation(1.0, (1.0, 2.0, 3.0), (1.0,))
        data = Dataset("d", pixels, None, steps, axis=3)
        (batch,) = from_data(data, [spec(None, 2, 2, 3, dtype=np.float16)], 2).batches
        assert batch["input"].dtype == np.float16
        np.testing.assert_array_equal(batch["input"], pixels - np.float16([1, 2, 3]))

    def test_data_that_does_not_fit(self):
        with pytest.raises(DataError, match="x has shape"):
            from_data(numbered(4, 3), [spec(None, 5)], 4)
        with pytest.raises(DataError, match="has 2 inputs"):
            from_data(numbered(4, 3), [spec(None, 3), spec(None, 3, name="b")], 4)


class TestForAGraph:
    @pytest.fixture
    def graph(self):
        return registry.open_graph(Chain(("n", 3, "h", "w")).conv(4).node("Relu").conv(3).build())

    def test_dynamic_axes_get_a_size(self, graph):
        found = probes_for(graph, Inputs(samples=2), ("cpu",), 0)
        (batch,) = found.batches
        assert batch["input"].shape == (2, 3, 224, 224)
        assert np.array_equal(
            batch["input"], probes_for(graph, Inputs(samples=2), ("cpu",), 0).batches[0]["input"]
        )

    def test_data_first(self, graph):
        data = Dataset("d", np.random.default_rng(0).random((5, 3, 6, 7), np.float32))
        found = probes_for(graph, Inputs(data, 3), ("cpu",), 0)
        assert found.real
        assert found.batches[0]["input"].shape == (3, 3, 6, 7)

    def test_as_many_as_usual(self):
        graph = registry.open_graph(Chain(("n", 6)).gemm(5).node("Relu").gemm(4).build())
        assert probes_for(graph, Inputs(), ("cpu",), 0).count == collect.SYNTHETIC_SAMPLES
        data = Dataset("d", np.random.default_rng(0).random((1000, 6), np.float32))
        assert probes_for(graph, Inputs(data), ("cpu",), 0).count == collect.REAL_SAMPLES


class TestAStateWhoseBatchIsNoFirstAxis:
    """As recurrent networks have it: layers by inputs by numbers."""

    SOUND = InputSpec("sound", (None, 16), np.dtype(np.float32), ("n", None))
    STATE = InputSpec("state", (2, None, 8), np.dtype(np.float32), (None, "n", None))
    RATE = InputSpec("rate", (), np.dtype(np.int64))

    def test_inputs_come_one_at_a_time(self):
        specs = [self.SOUND, self.STATE, self.RATE]
        found = synthesise(specs, [(1, 16), (2, 1, 8), ()], 5)
        assert found.count == len(found.batches) == 5
        assert [{k: v.shape for k, v in feeds.items()} for feeds in found.batches] == [
            {"sound": (1, 16), "state": (2, 1, 8), "rate": ()}
        ] * 5
        assert [*found.in_batches_of(1)] == [*found.batches]
        states = np.stack([feeds["state"] for feeds in found.batches])
        assert len(np.unique(states, axis=0)) == 5

    def test_such_a_model_is_measured(self):
        chain = Chain(("n", 3, 8, 8)).conv(8).node("Relu").node("GlobalAveragePool")
        chain.node("Flatten").gemm(8)
        features = chain.value
        chain.raw("ReduceMean", "state", axes=[0], keepdims=0)
        model = chain.raw("Concat", features, chain.value, axis=1).build(check=False)
        kind = onnx.TensorProto.FLOAT
        model.graph.input.append(onnx.helper.make_tensor_value_info("state", kind, [2, "n", 8]))
        result = nmcore.compress(model, samples=12, providers="cpu")
        assert "measured on 12 synthetic inputs" in result.notes
        assert {group.method for group in result.plan.groups} == {"moments"}
