"""Plans as data and as files: replayed to the bit, edited by hand, written by others, or wrong."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

import nmcore
from chain import Chain
from nmcore.arrays.criteria import CRITERIA
from nmcore.arrays.scaling import BN_FORMS
from nmcore.compression import reconstruction
from nmcore.compression.baseline import Baseline
from nmcore.data.dataset import Dataset
from nmcore.errors import ArgumentError, DataError, NmcoreError
from nmcore.options.methods import METHODS
from nmcore.plan import replay, serialization
from nmcore.plan.plan import VERSION, GroupPlan, Plan, Source, text
from nmcore.plan.serialization import load_plan

EXAMPLE = Path(__file__).parents[3] / "examples/fashion_mnist"
DATA = {"data": EXAMPLE / "calibration_256.npz", "scale": 255, "mean": (0.286,), "std": (0.353,)}
FULL = Plan(
    groups=(
        GroupPlan("conv1", 8, (0, 5, 7), "merge", "l1"),
        GroupPlan("conv2", 4, (0, 1, 2, 3), "none", "all channels kept"),
    ),
    options={"method": "merge", "threshold": 0.5, "mean": [0.5], "std": None, "seed": 3},
    model=Source("m.onnx", "ab" * 32),
    data=Source(None, "01" * 32),
    call="nmcore.compress('m.onnx')",
    versions={"nmcore": "0.1.0"},
)


def chain(norm=False):
    """Groups conv1 (8), conv2 (6) and gemm1 (5)."""
    layers = Chain().conv(8)
    layers = (layers.batch_norm() if norm else layers).node("Relu").conv(6).node("Relu")
    layers = layers.node("GlobalAveragePool").node("Flatten")
    return layers.gemm(5).node("Tanh").gemm(4).build()


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(chain(), path)
    return path


def written(model, **options):
    """The bytes of a compressed model, and its plan."""
    result = nmcore.compress(model, providers=("cpu",), **options)
    return result.graph.serialize(), result.plan


def kept(plan):
    return {group.name: group.kept for group in plan.groups}


class TestReplay:
    @pytest.mark.parametrize("name", ["lenet5.onnx", "lenet5_bn.onnx"])
    @pytest.mark.parametrize(
        "options",
        [
            {"ratio": 0.5, "samples": 64},
            {"macs": 0.5, **DATA},
            {"ratio": 0.5, "method": "merge", "criterion": "l2"},
            {"params": 0.5, "method": "prune"},
            {"ratio": 0.4, "method": "ridge"},
            {"ratio": 0.5, "method": "moments", "criterion": "random", "seed": 4, "samples": 40},
        ],
        ids=["auto", "data", "merge", "prune", "ridge", "seed"],
    )
    def test_the_example_is_the_same_to_the_bit(self, tmp_path, name, options):
        first, plan = written(EXAMPLE / name, **options)
        plan.save(tmp_path / "p.json")
        assert load_plan(tmp_path / "p.json") == plan
        data = {"data": options["data"]} if "data" in options else {}
        again, replayed = written(EXAMPLE / name, plan=tmp_path / "p.json", **data)
        assert again == first
        assert kept(replayed) == kept(plan)
        assert replayed.options == plan.options
        assert (replayed.model, replayed.data) == (plan.model, plan.data)

    @pytest.mark.parametrize("norm", [False, True])
    @pytest.mark.parametrize("method", METHODS)
    def test_every_method_on_an_object_in_memory(self, norm, method):
        first, plan = written(chain(norm), method=method, ratio=0.4, samples=None)
        again, _ = written(chain(norm), plan=plan)
        assert again == first

    @pytest.mark.parametrize("method", ["moments", "merge"])
    def test_a_residual_sum(self, method):
        """Several weights make the channels there, and several read them."""
        layers = Chain().conv(6).node("Relu")
        skip = layers.value
        layers.conv(6, pads=[1] * 4).raw("Add", layers.value, skip).node("Relu").conv(5)
        network = layers.node("Relu").conv(3).build()
        first, plan = written(network, ratio=0.4, method=method, samples=None)
        assert written(network, plan=plan, verify=True)[0] == first

    def test_the_options_given_again_are_the_same(self, model):
        options = {"method": "merge", "threshold": 0.2, "lam": 0.8, "bn_form": "folded", "seed": 5}
        first, plan = written(model, ratio=0.5, **options)
        assert written(model, plan=plan, **options)[0] == first

    def test_the_published_method_that_won_is_what_the_plan_says(self, model, monkeypatch):
        monkeypatch.setattr(Baseline, "_deviations", lambda *_: [1.0, 0.0])
        first, plan = written(model, ratio=0.5, data=pictures())
        assert plan.options["method"] == "merge"
        assert plan.data is None
        assert written(model, plan=plan)[0] == first
        # The same command as before, with the plan instead of the ratio.
        result = nmcore.compress(model, plan=plan, data=pictures())
        assert result.graph.serialize() == first
        assert (
            result.notes[0] == "method merge measures nothing: data is what results are judged on"
        )

    def test_groups_too_wide_to_measure(self, model, monkeypatch):
        monkeypatch.setattr(reconstruction, "MAX_FEATURES", 10)
        first, plan = written(model, ratio=0.5, method="moments", samples=16)
        assert {group.method for group in plan.groups} == {"merge", "moments"}
        assert written(model, plan=plan)[0] == first

    def test_a_plan_is_written_the_same_again(self, model):
        _, plan = written(model, ratio=0.5, method="moments", samples=16)
        _, second = written(model, plan=plan)
        _, third = written(model, plan=second)
        assert third.groups == second.groups
        assert text(third) == text(second)

    def test_other_versions_are_named(self, model):
        _, plan = written(model, ratio=0.5, method="merge")
        versions = plan.versions | {"numpy": "1.0", "abacus": "2"}
        notes = nmcore.compress(model, plan=Plan(**vars(plan) | {"versions": versions})).notes
        (note,) = (note for note in notes if "last digits" in note)
        assert f"numpy 1.0 (here {np.__version__})" in note
        assert "abacus 2 (here none)" in note


class TestContent:
    def test_what_is_told(self, tmp_path):
        result = nmcore.compress(EXAMPLE / "lenet5.onnx", ratio=0.5, method="merge", seed=2)
        result.plan.save(tmp_path / "p.json")
        text = (tmp_path / "p.json").read_text()
        data = json.loads(text)
        assert data["plan_version"] == 1
        assert data["model"]["file"] == "lenet5.onnx"
        assert len(data["model"]["sha256"]) == 64
        assert data["data"] is None
        assert data["options"] == {
            "criterion": "auto", "method": "merge", "threshold": None, "lam": None,
            "bn_form": "auto", "seed": 2, "samples": None, "scale": None, "mean": None, "std": None,
            "preprocess": None, "input_shape": None, "vocabulary": None, "states": False,
        }  # fmt: skip
        assert {"nmcore", "numpy", "onnx"} <= set(data["versions"])
        assert data["call"] == "nmcore.compress('lenet5.onnx', ratio=0.5, method='merge', seed=2)"
        group = data["groups"][0]
        assert (group["width"], len(group["kept"]), group["method"]) == (16, 8, "merge")
        assert "out-norm" in group["reason"]
        assert str(EXAMPLE.parent) not in text

    def test_the_digests_are_those_of_the_files(self, tmp_path):
        from hashlib import sha256

        _, plan = written(EXAMPLE / "lenet5.onnx", ratio=0.5, samples=32, method="moments", **DATA)
        for source, name in ((plan.model, "lenet5.onnx"), (plan.data, "calibration_256.npz")):
            content = (EXAMPLE / name).read_bytes()
            assert source == Source(name, sha256(content).hexdigest())

    def test_a_group_a_line(self):
        lines = text(FULL).splitlines()
        assert [line.strip()[:18] for line in lines if "kept" in line] == [
            '{"name": "conv1", ',
            '{"name": "conv2", ',
        ]
        assert serialization.parse(json.loads("\n".join(lines)), "it") == FULL

    def test_no_groups_at_all(self, tmp_path):
        Plan(()).save(tmp_path / "p.json")
        assert load_plan(tmp_path / "p.json") == Plan(())

    def test_where_nothing_was_removed_no_option_mattered(self, model):
        _, plan = written(model, ratio=0)
        assert plan.options == {}
        # A form to fill in: everything is as the options say.
        edited = Plan((GroupPlan("conv1", 8, (1, 2), "none"), *plan.groups[1:]), model=plan.model)
        _, second = written(model, plan=edited, method="prune")
        assert second.groups[0].method == "prune"
        assert second.groups[0].kept == (1, 2)

    def test_a_crash_leaves_the_old_plan(self, tmp_path, monkeypatch):
        path = tmp_path / "p.json"
        path.write_text("old")

        def crash(*_args):
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            FULL.save(path)
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_names_that_no_terminal_shows(self, tmp_path):
        plan = Plan((GroupPlan('conv\n1 \x1b "é"', 4, (0,)), GroupPlan("", 2, (1,))))
        plan.save(tmp_path / "p.json")
        assert load_plan(tmp_path / "p.json") == plan

    def test_the_schema_names_what_is_read(self):
        folder = Path(serialization.__file__).parent
        schema = json.loads((folder / "plan.schema.json").read_text())
        assert list(schema["properties"]) == list(serialization._PLAN_KEYS)
        assert schema["properties"]["plan_version"]["const"] == VERSION
        assert list(schema["$defs"]["group"]["properties"]) == list(serialization._GROUP_KEYS)
        options = schema["properties"]["options"]["properties"]
        assert set(options) == set(serialization.OPTIONS)
        assert options["method"]["enum"] == ["auto", *METHODS]
        assert options["criterion"]["enum"] == ["auto", *CRITERIA]
        assert options["bn_form"]["enum"] == ["auto", *BN_FORMS]
        assert schema["$defs"]["group"]["properties"]["method"]["enum"] == ["", *METHODS, "none"]


class TestForeign:
    """Kept channels chosen elsewhere."""

    @pytest.mark.parametrize("method", ["auto", "moments", "merge", "prune", "ridge"])
    def test_the_channels_are_kept_and_the_method_is_as_asked(self, model, method):
        _, plan = written(model, plan={"groups": {"conv1": [5, 0, 2]}}, method=method)
        assert kept(plan) == {
            "conv1": (0, 2, 5),
            "conv2": tuple(range(6)),
            "gemm1": tuple(range(5)),
        }
        assert plan.groups[0].method in (METHODS if method == "auto" else [method])

    def test_the_weights_are_those_of_the_kept_channels(self, model):
        proto = onnx.load_from_string(
            written(model, plan={"groups": {"conv1": [1, 6]}}, method="prune")[0]
        )
        before = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(model).graph.initializer}
        after = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
        first, second = (node.input[1] for node in proto.graph.node if node.op_type == "Conv")
        np.testing.assert_array_equal(after[first], before[first][[1, 6]])
        np.testing.assert_array_equal(after[second], before[second][:, [1, 6]])

    def test_every_form(self, model, tmp_path):
        groups = {"conv1": [0, 2], "gemm1": [1]}
        objects = [{"name": "conv1", "kept": [2, 0]}, {"name": "gemm1", "width": 5, "kept": [1]}]
        path = tmp_path / "p.json"
        path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"groups": groups}).encode())
        forms = [
            {"groups": groups},
            {"groups": objects},
            {"groups": {"conv1": np.array([2, 0]), "gemm1": (np.int64(1),)}},
            Plan((GroupPlan("conv1", 0, (2, 0)), GroupPlan("gemm1", 5, (1,)))),
            path,
            str(path),
        ]
        results = [written(model, plan=form, method="merge") for form in forms]
        assert {result[0] for result in results} == {results[0][0]}
        assert {result[1].groups for result in results} == {results[0][1].groups}

    def test_it_becomes_a_plan_that_can_be_replayed(self, model):
        first, plan = written(model, plan={"groups": {"conv2": [3, 1]}}, samples=24, seed=1)
        assert written(model, plan=plan)[0] == first

    def test_a_group_may_have_its_own_method(self, model):
        groups = [
            {"name": "conv1", "kept": [0, 2], "method": "prune"},
            {"name": "conv2", "kept": [0, 2]},
        ]
        for method in ("moments", "merge"):
            _, plan = written(model, plan={"groups": groups}, method=method)
            assert [group.method for group in plan.groups] == ["prune", method, "none"]
        groups[0]["method"] = "moments"
        with pytest.raises(ArgumentError, match="group conv1 by method moments; the method of"):
            written(model, plan={"groups": groups}, method="merge")

    def test_all_channels_named(self, model):
        result = nmcore.compress(model, plan={"groups": {"conv1": list(range(8))}})
        assert result.notes == ["nothing is to be removed"]
        assert result.after.params == result.before.params

    def test_verified(self, model):
        for method in ("moments", "merge"):
            nmcore.compress(model, plan={"groups": {"conv1": [7, 3]}}, method=method, verify=True)


class TestAnotherModel:
    def test_a_file(self, model, tmp_path):
        _, plan = written(model, ratio=0.5, method="merge")
        other = tmp_path / "other.onnx"
        onnx.save(chain(norm=True), other)
        with pytest.raises(ArgumentError, match=r"made for model\.onnx \(sha256 .*, not for other"):
            written(other, plan=plan)
        written(other, plan=Plan(plan.groups))
        shutil.copy(model, other)
        written(other, plan=plan)

    def test_an_object(self):
        _, plan = written(chain(), ratio=0.5, method="merge")
        with pytest.raises(ArgumentError, match="made for an object in memory"):
            written(chain(norm=True), plan=plan)

    def test_an_object_for_a_file_is_not_compared(self, model):
        first, plan = written(model, ratio=0.5, method="merge")
        result = nmcore.compress(onnx.load(model), plan=plan)
        assert result.graph.serialize() == first
        assert "the groups alone were compared" in result.notes[0]


def pictures(seed=0, count=24):
    rng = np.random.default_rng(seed)
    return Dataset("made", rng.standard_normal((count, 3, 8, 8)).astype(np.float32))


@pytest.fixture
def npz(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x=pictures().arrays["x"])
    return path


class TestData:
    def test_the_file_has_to_be_given_again(self, model, npz, tmp_path):
        first, plan = written(model, ratio=0.5, method="moments", data=npz)
        assert plan.data.file == "data.npz"
        with pytest.raises(ArgumentError, match=r"made with data, data\.npz \(sha256 \w{12}\.\.\."):
            written(model, plan=plan)
        copy = tmp_path / "copy.npz"
        shutil.copy(npz, copy)
        assert written(model, plan=plan, data=copy)[0] == first
        np.savez(copy, x=pictures(1).arrays["x"])
        with pytest.raises(ArgumentError, match=r"made with data data\.npz .*, not copy\.npz"):
            written(model, plan=plan, data=copy)
        with pytest.raises(DataError, match="does not exist"):
            written(model, plan=plan, data=tmp_path / "none.npz")
        written(model, plan=Plan(plan.groups), data=copy)

    def test_where_there_was_none(self, model, npz):
        _, plan = written(model, ratio=0.5, method="moments", samples=16)
        with pytest.raises(ArgumentError, match="was made without data: leave out data"):
            written(model, plan=plan, data=npz)

    def test_arrays(self, model, npz):
        first, plan = written(model, ratio=0.5, method="moments", data=pictures())
        assert plan.data.file is None
        assert written(model, plan=plan, data=pictures())[0] == first
        with pytest.raises(ArgumentError, match="made with data an object in memory"):
            written(model, plan=plan, data=pictures(1))
        result = nmcore.compress(model, plan=plan, data=npz)
        assert "the data was not compared" in result.notes[0]
        assert result.graph.serialize() == first

    def test_a_folder_of_pictures(self, model, tmp_path):
        image = pytest.importorskip("PIL.Image")
        folder = tmp_path / "pictures"
        folder.mkdir()
        rng = np.random.default_rng(0)
        for number in range(6):
            pixels = rng.integers(0, 256, (9, 8, 3), np.uint8)
            image.fromarray(pixels).save(folder / f"{number}.png")
        options = {"ratio": 0.5, "method": "moments", "data": folder}
        first, plan = written(model, **options, samples=4)
        assert plan.data.file == "pictures"
        assert written(model, plan=plan, data=folder)[0] == first
        image.fromarray(pixels).save(folder / "0.png")
        with pytest.raises(ArgumentError, match="made with data pictures"):
            written(model, plan=plan, data=folder)


class TestContradictions:
    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ({"ratio": 0.5}, "ratio"),
            ({"ratio": 0.0}, "ratio"),
            ({"macs": 0.5}, "macs"),
            ({"params": 0.5}, "params"),
            ({"keep": {"conv1": 3}}, "keep"),
            ({"only": ["conv1"]}, "only"),
            ({"exclude": ["conv1"]}, "exclude"),
            ({"round_to": 4}, "round-to"),
            ({"criterion": "l1"}, "criterion"),
            ({"ratio": 0.5, "only": ["conv1"]}, "ratio and only"),
        ],
    )
    def test_what_the_plan_decides(self, model, options, named):
        with pytest.raises(ArgumentError) as error:
            written(model, plan={"groups": {"conv1": [1]}}, **options)
        assert str(error.value).startswith(f"{named} cannot be given with a plan, which says which")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"method": "prune"}, "method is prune; the plan was made with merge: leave it out"),
            ({"threshold": 0.1}, "threshold is 0.1; the plan was made without it: leave"),
            ({"bn_form": "folded"}, "bn-form is folded; the plan was made with auto"),
            ({"seed": 4}, "seed is 4; the plan was made with 3"),
            ({"scale": 2.0}, "scale is 2.0; the plan was made without it"),
            ({"mean": (0.1,)}, r"mean is \[0.1\]; the plan was made without"),
        ],
    )
    def test_what_the_plan_states(self, model, options, message):
        _, plan = written(model, ratio=0.5, method="merge", seed=3)
        with pytest.raises(ArgumentError, match=message):
            written(model, plan=plan, **options)

    def test_methods_that_need_no_data(self, model, npz):
        options = {"plan": {"groups": {"conv1": [1]}}, "method": "merge"}
        assert written(model, **options, data=npz)[0] == written(model, **options)[0]


def groups(*items):
    return {"groups": list(items)}


WRONG = [
    ([], "plan is of type list; a file, a Plan or a mapping is needed"),
    (3, "plan is of type int"),
    ({}, 'the plan has no "groups"; a form such as {"groups": {"conv1": [0, 2, 5]}} is needed'),
    ({"conv1": [0]}, 'the plan has "conv1"; known are $schema, plan_version'),
    ({"groups": {}, "tool": "x"}, 'the plan has "tool"'),
    ({"groups": 3}, "groups is 3; a form such as"),
    ({"groups": None}, "groups is null; a form such as"),
    ({"groups": "conv1"}, 'groups is "conv1"'),
    ({"groups": {"conv1": []}}, 'group "conv1": kept is empty; at least one channel'),
    ({"groups": {"conv1": 3}}, 'group "conv1": kept is 3; a list of channels is needed'),
    ({"groups": {"conv1": None}}, "kept is null"),
    ({"groups": {"conv1": "012"}}, 'kept is "012"; a list'),
    ({"groups": {"conv1": {"0": 1}}}, 'kept is {"0": 1}; a list'),
    ({"groups": {"conv1": [0, 1.5]}}, "kept holds 1.5; channels are whole numbers from 0"),
    ({"groups": {"conv1": [0, 2.0]}}, "kept holds 2.0"),
    ({"groups": {"conv1": [float("nan")]}}, "kept holds NaN"),
    ({"groups": {"conv1": [-1, 0]}}, "kept holds -1"),
    ({"groups": {"conv1": ["0"]}}, 'kept holds "0"'),
    ({"groups": {"conv1": [None]}}, "kept holds null"),
    ({"groups": {"conv1": [[0]]}}, "kept holds [0]"),
    ({"groups": {"conv1": [True, False]}}, "kept holds true"),
    ({"groups": {"conv1": np.array([True, False])}}, "kept holds true"),
    ({"groups": {"conv1": np.array([0.0])}}, "kept holds 0.0"),
    ({"groups": {"conv1": np.array(3)}}, "kept is of type ndarray"),
    ({"groups": {"conv1": [0, 3, 0]}}, 'group "conv1": kept names channel 0 twice'),
    ({"groups": {"conv1": [0, 8]}}, "keeps channel 8 of group conv1, whose channels are 0 to 7"),
    ({"groups": {"conv1": [10**30]}}, "whose channels are 0 to 7"),
    ({"groups": {"conv9": [0]}}, "group conv9, which the model has not; `nmcore inspect` lists"),
    ({"groups": {"gemm2": [0]}}, "the plan names gemm2, which is left alone: its channels"),
    (groups(["conv1", [0]]), 'group number 1 is ["conv1", [0]]; an object with "name" and "kept"'),
    (groups({"kept": [0]}), "group number 1 has the name null"),
    (groups({"name": 3, "kept": [0]}), "group number 1 has the name 3"),
    (groups({"name": "conv1"}), 'group "conv1" has no "kept"'),
    (groups({"name": "conv1", "keep": [0]}), 'group "conv1" has "keep"; known are name, width'),
    (groups({"name": "conv1", "kept": [0], "width": 9}), "group conv1 has 9 channels; it has 8"),
    (groups({"name": "conv1", "kept": [0], "width": "8"}), 'width is "8"; a number'),
    (groups({"name": "conv1", "kept": [0], "width": True}), "width is true"),
    (groups({"name": "conv1", "kept": [0], "method": "magic"}), 'method is "magic"; one of prune'),
    (groups({"name": "conv1", "kept": [0], "method": 3}), "method is 3; text is needed"),
    (groups({"name": "conv1", "kept": [0], "reason": []}), "reason is []; text is needed"),
    (groups(*[{"name": "conv1", "kept": [0]}] * 2), 'names group "conv1" twice'),
    ({"plan_version": 2, "groups": {}}, "plan_version 2; this nmcore reads 1"),
    ({"plan_version": "1", "groups": {}}, 'plan_version "1"'),
    ({"plan_version": True, "groups": {}}, "plan_version true"),
    ({"plan_version": 1.0, "groups": {}}, "plan_version 1.0"),
    ({"groups": {}, "model": "m"}, 'model is "m"; an object with "sha256" is needed'),
    ({"groups": {}, "model": {}}, "model: sha256 is null; 64 hexadecimal digits are needed"),
    ({"groups": {}, "model": {"sha256": "x" * 64}}, "sha256 is"),
    ({"groups": {}, "model": {"sha256": "a" * 64, "file": 3}}, "model: file is 3; text"),
    ({"groups": {}, "data": {"sha": 1}}, 'data has "sha"; known are file, sha256'),
    ({"groups": {}, "call": 3}, "call is 3; text is needed"),
    ({"groups": {}, "versions": 3}, "versions is 3; an object is needed"),
    ({"groups": {}, "versions": {"numpy": 2}}, "numpy is 2; text is needed"),
    ({"groups": {}, "options": 3}, "options is 3; an object is needed"),
    ({"groups": {}, "options": {"ratio": 0.5}}, 'options has "ratio"; known are method'),
    ({"groups": {}, "options": {"method": "x"}}, 'options: method is "x"; one of auto, prune'),
    ({"groups": {}, "options": {"criterion": None}}, "criterion is null; one of auto, l1"),
    ({"groups": {}, "options": {"seed": -1}}, "seed is -1; a whole number from 0 is needed"),
    ({"groups": {}, "options": {"lam": "1"}}, 'lam is "1"; a number or null is needed'),
    ({"groups": {}, "options": {"scale": float("inf")}}, "scale is Infinity"),
    ({"groups": {}, "options": {"scale": 10**400}}, "a number or null is needed"),
    ({"groups": {}, "options": {"mean": 0.5}}, "mean is 0.5; a list of numbers or null is needed"),
    ({"groups": {}, "options": {"mean": []}}, "mean is []; a list"),
    ({"groups": {}, "options": {"std": [1, None]}}, "std is [1, null]; a list"),
]


class TestWrong:
    @pytest.mark.parametrize(("plan", "message"), WRONG, ids=lambda value: str(value)[:30])
    def test_what_python_gives(self, model, plan, message):
        with pytest.raises(NmcoreError) as error:
            nmcore.compress(model, plan=plan)
        assert message in str(error.value)
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 300

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "is no JSON: Expecting value at line 1, column 1"),
            (b"conv1: 0 2 5\n", "is no JSON: Expecting value at line 1, column 1"),
            (b'{"groups": {"conv1": [0, 1]', "is no JSON"),
            (b'{"groups": {"conv1": [0, 1,]}}', "is no JSON"),
            (b"\x80\x03PK\xff", "is no JSON: it is not text in UTF-8"),
            (b'{"groups": {"conv1": [NaN]}}', "holds NaN, which is no number"),
            (b'{"groups": {"conv1": [-Infinity]}}', "holds -Infinity"),
            (b'{"groups": {"conv1": [1e999]}}', "kept holds Infinity"),
            (b'{"groups": {"a": [0], "a": [1]}}', 'names "a" twice in one object'),
            (b"[" * 100_000, "is no plan: its brackets are nested too deeply"),
            (b'{"groups": {"a": [%s]}}' % (b"9" * 5000), "is no plan: "),
            (b"[0, 1]", 'is [0, 1]; an object with "groups" is needed'),
            (b"null", 'is null; an object with "groups" is needed'),
        ],
        ids=lambda value: str(value)[:20],
    )
    def test_files(self, tmp_path, content, message):
        path = tmp_path / "p.json"
        path.write_bytes(content)
        with pytest.raises(ArgumentError) as error:
            load_plan(path)
        assert str(error.value).startswith(f"plan {path}")
        assert message in str(error.value)

    def test_places(self, tmp_path):
        with pytest.raises(ArgumentError, match="is a directory"):
            load_plan(tmp_path)
        with pytest.raises(ArgumentError, match="does not exist"):
            load_plan(str(tmp_path / "none.json"))
        with pytest.raises(ArgumentError, match="cannot be read: File name too long"):
            load_plan("a" * 5000)

    def test_a_gigantic_file(self, tmp_path):
        path = tmp_path / "p.json"
        with path.open("wb") as file:
            file.truncate(2**33)
        with pytest.raises(ArgumentError, match="has 8,589,934,592 bytes; a plan has at most"):
            load_plan(path)

    def test_no_permission(self, tmp_path, monkeypatch):
        (tmp_path / "p.json").write_text("{}")

        def refuse(*_args):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(ArgumentError, match="cannot be read: Permission denied"):
            load_plan(tmp_path / "p.json")


def test_the_module_is_at_hand():
    assert nmcore.load_plan is load_plan


def test_what_is_stated_are_arguments_of_compress():
    from inspect import signature

    from nmcore.pipeline.compress import compress

    names = set(signature(compress).parameters)
    assert set(serialization.OPTIONS) <= names
    assert set(replay._DECIDING) <= names
