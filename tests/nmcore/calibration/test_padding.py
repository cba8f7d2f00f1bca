"""Which input marks padding, and that what it marks is not measured."""

from __future__ import annotations

import numpy as np
import onnx

import nmcore
from chain import run
from encoder import NAMES, encoder, padded, texts
from nmcore.calibration import splicing
from nmcore.calibration.padding import padded_away, padding_mask
from nmcore.plugins import registry


def session(model):
    return registry.runtime().session(model.SerializeToString(), providers=["cpu"], threads=1)


def turned(model):
    """The same model with a mask whose ones mark padding."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    (cast,) = (node for node in model.graph.node if NAMES[1] in node.input)
    one = onnx.numpy_helper.from_array(np.int64(1), "one")
    model.graph.initializer.append(one)
    turn = onnx.helper.make_node("Sub", ["one", NAMES[1]], ["turned"])
    cast.input[0] = "turned"
    model.graph.node.insert(0, turn)
    return model


class TestMask:
    def test_it_is_what_nothing_behind_changes_with(self):
        """The kinds of tokens are zeros and ones as well."""
        feeds = padded(texts(9))
        assert set(np.unique(feeds["token_type_ids"])) == {0, 1}
        assert padding_mask(session(encoder()), [feeds]) == "attention_mask"
        assert padding_mask(session(encoder()), iter([dict(reversed(feeds.items()))])) == NAMES[1]

    def test_the_first_batch_with_padding_decides(self):
        whole = {name: array[:1, :3] for name, array in padded(texts(1)).items()}
        assert padding_mask(session(encoder()), [whole]) is None
        assert padding_mask(session(encoder()), [whole, padded(texts(9))]) == "attention_mask"

    def test_one_whose_zeros_count_is_none(self):
        feeds = padded(texts(9))
        feeds["attention_mask"] = 1 - feeds["attention_mask"]
        assert padding_mask(session(turned(encoder())), [feeds]) is None

    def test_a_mask_that_the_model_does_not_heed_is_none(self):
        model = encoder()
        (cast,) = (node for node in model.graph.node if NAMES[1] in node.input)
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((1, 1)), "ones"))
        cast.input[0] = "ones"
        assert padding_mask(session(model), [padded(texts(9))]) is None


def test_outputs_without_positions_stay():
    mask = np.array([[True, False], [True, True]])
    for shape in ((2, 3), (2, 3, 4), (2,), (4, 2, 2)):
        output = np.ones(shape)
        assert padded_away(output, mask) is output
    assert padded_away(np.ones((2, 2, 5)), mask).shape == (3, 5)


def shrunk(data, **options):
    result = nmcore.compress(
        encoder(), ratio=0.6, method="moments", data=data, providers="cpu", **options
    )
    return onnx.load_from_string(result.graph.serialize())


def states(model, feeds):
    return np.concatenate([run(model, feed)[0].reshape(-1, 16) for feed in feeds])


class TestMoments:
    def test_padded_texts_give_what_the_same_texts_give_alone(self, monkeypatch):
        """The same weights but for rounding, where every position without a mask would change."""
        monkeypatch.setattr(splicing, "WANTED", 0)
        given = texts(80)
        alone, behind, long = (
            shrunk(data) for data in (given, padded(given), padded(given, length=40))
        )
        feeds = texts(40, seed=1)
        for other in (behind, long):
            np.testing.assert_allclose(states(alone, feeds), states(other, feeds), atol=2e-3)

    def test_they_fit_texts_better_than_with_their_padding(self, monkeypatch):
        data, feeds = padded(texts(80), length=60), texts(40, seed=1)
        wanted = states(encoder(), feeds)
        without = shrunk(data)
        monkeypatch.setattr("nmcore.calibration.collect.padding_mask", lambda *_: None)
        within = shrunk(data)
        error, other = (np.square(states(m, feeds) - wanted).mean() for m in (without, within))
        assert error < 0.9 * other

    def test_what_has_no_positions_is_measured_as_before(self):
        """A head behind the first word of the encoder, whose rows are texts."""
        model = encoder()
        tensors = {
            "head1": np.random.default_rng(3).standard_normal((16, 20)).astype("f4"),
            "zero": np.int64(0),
            "head2": np.random.default_rng(4).standard_normal((20, 5)).astype("f4"),
        }
        model.graph.initializer.extend(
            onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in tensors.items()
        )
        last = model.graph.output[0].name
        make = onnx.helper.make_node
        model.graph.node.extend(
            [
                make("Gather", [last, "zero"], ["pooled"], axis=1),
                make("MatMul", ["pooled", "head1"], ["wide"], name="wide"),
                make("Relu", ["wide"], ["positive"]),
                make("MatMul", ["positive", "head2"], ["scores"], name="narrow"),
            ]
        )
        model.graph.output[0].CopyFrom(
            onnx.helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["n", 5])
        )
        found = nmcore.compress(model, ratio=0.5, data=padded(texts(80)), providers="cpu")
        assert {o.plan.name: o.plan.method for o in found.outcomes}["wide"] == "moments"
        assert any("the padding that attention_mask marks" in line for line in found.notes)


def test_a_graph_tells_whether_it_leaves_padding_out():
    graph = registry.open_graph(encoder())
    assert graph.set_mask("attention_mask")
    model = encoder()
    for node in model.graph.node:
        if node.name == "layernormalization1":
            # Behind this no shape is known, and so no row is known to be a position.
            node.domain = "elsewhere"
    model.opset_import.append(onnx.helper.make_opsetid("elsewhere", 1))
    assert not registry.open_graph(model).set_mask("attention_mask")
