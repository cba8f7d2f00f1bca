"""What options may be."""

from __future__ import annotations

from inspect import signature

import numpy as np
import onnx
import pytest

import nmcore
from nmcore.errors import ArgumentError, DataError
from nmcore.evaluation.evaluate import evaluate
from nmcore.evaluation.inputs import synthetic_data
from nmcore.options.checks import OPTIONS, checked
from nmcore.plugins.inputs import InputSpec
from small import small_network

SHARE = "a share above 0 and at most 1 is needed"
POINTS = "a number of percentage points, at least 0 and below 100, is needed"
KEEP = "a mapping of pattern to whole number, such as {'conv1': 8}, is needed"

MISTAKES = [
    ("ratio", "0.5", "ratio is '0.5'; a share of at least 0 and below 1 is needed"),
    ("ratio", 1, "ratio is 1; a share"),
    ("ratio", -0.1, "ratio is -0.1; a share"),
    ("ratio", True, "ratio is True; a share"),
    ("ratio", np.array([0.5, 0.6]), "ratio is array([0.5, 0.6]); a share"),
    *((name, value, f"{name} is {value}; {SHARE}")
      for name in ("macs", "params", "latency")
      for value in (0, 1.5, -1, float("nan"), float("inf"))),
    *(("max_drop", value, f"max-drop is {value}; {POINTS}")
      for value in (-1, 100, float("nan"))),
    ("max_drop", "x", f"max-drop is 'x'; {POINTS}"),
    ("round_to", "odd", "round-to is 'odd'; auto or a whole number from 1 is needed"),
    ("round_to", 0, "round-to is 0"),
    ("round_to", 1.5, "round-to is 1.5"),
    ("round_to", True, "round-to is True"),
    ("method", "magic", "method is 'magic'; one of auto, prune, merge"),
    ("method", None, "method is None; one of auto"),
    ("criterion", 3, "criterion is 3; one of auto, l1"),
    ("bn_form", "x", "bn-form is 'x'; one of auto, released, folded is needed"),
    ("threshold", 2, "threshold is 2; a number from -1 to 1 is needed"),
    ("lam", "1", "lam is '1'; a number from 0 to 1 is needed"),
    ("keep", 4, f"keep is 4; {KEEP}"),
    ("keep", ["a"], f"keep is ['a']; {KEEP}"),
    ("keep", {"a": 2.5}, "keep is {'a': 2.5}; a mapping"),
    ("keep", {3: 4}, "keep is {3: 4}; a mapping"),
    ("exclude", 3, "exclude is 3; a pattern or a list of patterns is needed"),
    ("only", ["a", 3], "only is ['a', 3]; a pattern or a list"),
    ("samples", "x", "samples is 'x'; a whole number from 1 is needed"),
    ("samples", 0, "samples is 0; a whole number from 1"),
    ("samples", 2.5, "samples is 2.5"),
    ("scale", "x", "scale is 'x'; a number is needed"),
    ("mean", "x", "mean is 'x'; a number, or one a channel, is needed"),
    ("std", [[1, 2], [3, 4]], "std is [[1, 2], [3, 4]]; a number, or one"),
    *(("input_shape", value, "input-shape is ")
      for value in (3, "1x3", {}, {1: (2,)}, [0, 3], [], [1.5], {"x": ()})),
    ("preprocess", 3, "preprocess is 3; a name, a file, or a mapping"),
    ("labels", 3, "labels is 3; a file is needed"),
    ("verify", "yes", "verify is 'yes'; True or False is needed"),
    ("providers", 3, "providers is 3; a name or a list of names"),
    ("threads", -1, "threads is -1; a whole number from 0 is needed"),
    ("seed", 1.5, "seed is 1.5; a whole number from 0 is needed"),
    ("progress", 3, "progress is 3; a function"),
    ("ratio", "x" * 200, "ratio is 'xxxx"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "message"), MISTAKES)
def test_mistakes_are_one_line_that_names_what_is_needed(name, value, message):
    with pytest.raises(ArgumentError) as caught:
        checked({name: value})
    said = str(caught.value)
    assert said.startswith(message)
    assert said.endswith(" is needed")
    assert "\n" not in said
    assert len(said) < 200


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("scale", float("nan"), "scale is nan; finite numbers"),
        ("scale", 0, "scale is 0.0; it divides"),
        ("std", [0.5, 0], r"std is 0.5 0.0; it divides"),
        ("mean", [], "mean is empty"),
    ],
)
def test_numbers_that_nothing_can_be_scaled_by(name, value, message):
    with pytest.raises(DataError, match=message):
        checked({name: value})


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ({"ratio": np.float32(0.5)}, {"ratio": 0.5}),
        ({"samples": np.int64(3), "seed": np.uint8(2)}, {"samples": 3, "seed": 2}),
        ({"keep": {"a": np.int32(4)}}, {"keep": {"a": 4}}),
        ({"exclude": "a*", "only": ["b", "c"]}, {"exclude": ("a*",), "only": ("b", "c")}),
        ({"exclude": None}, {"exclude": ()}),
        ({"mean": 0.5, "std": np.array([1, 2])}, {"mean": (0.5,), "std": (1.0, 2.0)}),
        ({"providers": "cpu"}, {"providers": ("cpu",)}),
        (
            {"preprocess": "unit"},
            {"preprocess": None, "scale": 255.0, "mean": (0.0,), "std": (1.0,)},
        ),
        (
            {"preprocess": {"order": "bgr"}, "scale": 2},
            {"preprocess": {"order": "bgr"}, "scale": 2.0},
        ),
        ({"input_shape": [1, 3, 8]}, {"input_shape": {"": (1, 3, 8)}}),
        ({"input_shape": {"x": np.array([2, 3])}}, {"input_shape": {"x": (2, 3)}}),
        ({"round_to": "auto"}, {"round_to": "auto"}),
        ({"macs": None, "keep": None, "samples": None}, None),
        ({"model": 3, "notify": 4}, None),
    ],
)
def test_plain_forms(given, plain):
    found = checked(given)
    assert found == (given if plain is None else plain)
    assert [type(v) for v in found.values()] == [type(v) for v in (plain or given).values()]


@pytest.mark.parametrize("function", [nmcore.compress, nmcore.sensitivity, evaluate])
def test_every_option_is_checked(function):
    apart = {"model", "models", "plan", "data", "metric", "notify"}
    assert set(signature(function).parameters) - apart <= set(OPTIONS)


@pytest.mark.parametrize("method", ["auto", "moments"])
def test_more_inputs_than_can_be_synthetic_data(tmp_path, method):
    path = tmp_path / "m.onnx"
    onnx.save(small_network().build(), path)
    said = rf"samples is {10**12}; at most \d+ inputs 'input' can be made"
    with pytest.raises(ArgumentError, match=said):
        nmcore.compress(path, method=method, samples=10**12, providers=("cpu",))
    with pytest.raises(ArgumentError, match=said):
        evaluate([path], samples=10**12, providers=("cpu",))


def test_more_than_can_be_made_for_a_model_of_several_inputs():
    class Session:
        inputs = tuple(InputSpec(name, (None, 4), np.dtype(np.float32)) for name in "ab")

        def run(self, feeds, *, divisible=False):
            return []

    with pytest.raises(ArgumentError, match=r"at most \d+ inputs 'a' can be made"):
        synthetic_data(Session(), 10**12)


def test_every_door_checks(tmp_path):
    model = small_network().build()
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ArgumentError, match="seed is 'x'"):
        nmcore.compress(model, seed="x")
    with pytest.raises(ArgumentError, match="samples is 'x'"):
        nmcore.sensitivity(model, samples="x")
    with pytest.raises(ArgumentError, match="runs is 0"):
        evaluate([tmp_path / "m.onnx"], runs=0)
