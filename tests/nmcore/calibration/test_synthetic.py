"""Inputs made from nothing."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import nmcore
from chain import Chain
from nmcore.calibration import calibration_set
from nmcore.calibration.dead_leaves import dead_leaves
from nmcore.calibration.photographs import crops
from nmcore.calibration.synthetic import synthesise
from nmcore.data.normalisation import Normalisation
from nmcore.plugins.inputs import InputHint, InputSpec


def spec(*shape, dtype=np.float32, name="input"):
    return InputSpec(name, shape, np.dtype(dtype))


def made(shape, count=4, dtype=np.float32, name="input", fixed=False, **options):
    declared = shape if fixed else (None, *shape[1:])
    found = synthesise([spec(*declared, dtype=dtype, name=name)], [shape], count, **options)
    return np.concatenate([batch[name] for batch in found.batches])


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
        np.testing.assert_allclose(x, (crops(64, 3, (16, 16)) - 0.45) / 0.25, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("shape", [(1, 7, 8, 8), (1, 3, 30), (1, 1, 4, 5, 6)])
    def test_what_is_no_picture_is_dead_leaves(self, shape):
        leaves = dead_leaves(4, shape[1], shape[2:])
        np.testing.assert_allclose(made(shape), (leaves - 0.45) / 0.25, rtol=1e-5, atol=1e-6)

    def test_unseen_pictures_are_of_other_photographs(self):
        x = made((1, 1, 8, 8), unseen=True)
        wanted = crops(4, 1, (8, 8), unseen=True)
        np.testing.assert_allclose(x, (wanted - 0.45) / 0.25, rtol=1e-5, atol=1e-6)
        assert not np.array_equal(x, made((1, 1, 8, 8)))

    def test_a_normalisation_gets_raw_pixels(self):
        """The options say what is done to pixels from 0 to 255, so that is what they are given."""
        pictures = crops(4, 3, (8, 8))
        usual = Normalisation(255.0, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
        mean, std = (np.float32(v).reshape(3, 1, 1) for v in (usual.mean, usual.std))
        x = made((1, 3, 8, 8), normalisation=usual)
        np.testing.assert_allclose(x, (pictures - mean) / std, rtol=1e-4, atol=1e-5)
        none = made((1, 3, 8, 8), normalisation=Normalisation())
        np.testing.assert_allclose(none, 255 * pictures, rtol=1e-5)
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
        np.testing.assert_array_equal(x, (255 * crops(4, 3, (16, 16))).astype(np.uint8))

    @pytest.mark.parametrize("dtype", [np.float16, np.float64])
    def test_other_precisions(self, dtype):
        x = made((1, 3, 8, 8), dtype=dtype)
        assert x.dtype == dtype
        np.testing.assert_allclose(x, made((1, 3, 8, 8)), rtol=2e-3, atol=2e-3)

    def test_integers_are_places_in_the_table_that_the_graph_tells_of(self):
        ids = made((1, 20), 64, dtype=np.int64, hints={"input": InputHint(ids=5000)})
        assert ids.shape == (64, 20)
        assert ids.min() < 100 < 4900 < ids.max() < 5000
        assert made((1, 20), 64, dtype=np.int64).max() == 7

    def test_flags_are_true(self):
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
            (None, 100, [64, 36]),
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
        monkeypatch.setattr(calibration_set, "_MAX_ELEMENTS", 100)
        found = synthesise([spec(None, 30)], [(1, 30)], 9)
        assert [len(batch["input"]) for batch in found.batches] == [3, 3, 3]
        found = synthesise([spec(None, 30)], [(1, 30)], 10)
        assert [len(batch["input"]) for batch in found.batches] == [3, 3, 3, 1]
        found = synthesise([spec(None, 300)], [(1, 300)], 2)
        assert [len(batch["input"]) for batch in found.batches] == [1, 1]


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
