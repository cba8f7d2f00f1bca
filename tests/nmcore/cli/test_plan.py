"""``nmcore compress`` with ``--save-plan``, ``--plan`` and ``--dry-run``."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from chain import Chain
from nmcore.evaluation.latency import Latency
from nmcore.pipeline import measuring

EXAMPLE = Path(__file__).parents[3] / "examples/fashion_mnist"
DATA = ["--data", EXAMPLE / "calibration_256.npz"]
PIXELS = ["--scale", 255, "--mean", 0.286, "--std", 0.353]
CPU = ["--providers", "cpu"]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "small.onnx"


@pytest.fixture
def plan(tmp_path):
    return tmp_path / "plan.json"


@pytest.fixture
def saved(run, model, plan):
    """A plan of half of the channels, merged."""
    run("compress", model, "--dry-run", "--method", "merge", "--save-plan", plan, *CPU)
    return plan


def kept(path):
    return {group["name"]: group["kept"] for group in json.loads(path.read_text())["groups"]}


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


class TestReplay:
    @pytest.mark.parametrize("name", ["lenet5.onnx", "lenet5_bn.onnx"])
    @pytest.mark.parametrize(
        ("options", "data"),
        [
            (["--samples", 64], []),
            (["--macs", 0.5, *PIXELS], DATA),
            (["--method", "merge"], []),
            (["--method", "prune", "--ratio", 0.7], []),
        ],
        ids=["default", "data", "merge", "prune"],
    )
    def test_the_same_bytes(self, run, out, plan, tmp_path, name, options, data):
        again = tmp_path / "again.onnx"
        run("compress", EXAMPLE / name, out, *options, *data, "--save-plan", plan, *CPU)
        run("compress", EXAMPLE / name, again, "--plan", plan, *data, *CPU)
        assert again.read_bytes() == out.read_bytes()

    def test_the_whole_command_with_the_plan(self, run, out, plan, tmp_path):
        """The options that are given again are those of the plan."""
        command = ["compress", EXAMPLE / "lenet5.onnx", out, *DATA, *PIXELS, "--seed", 2, *CPU]
        run(*command, "--params", 0.5, "--save-plan", plan)
        first = out.read_bytes()
        run(*command, "--plan", plan, "--verify")
        assert out.read_bytes() == first

    def test_in_place(self, run, model, saved, tmp_path, out):
        """The digest in the plan is that of the model before it was replaced."""
        original = model.read_bytes()
        second = tmp_path / "second.json"
        run("compress", model, out, "--plan", saved, *CPU)
        options = ["--overwrite", "--plan", saved, "--save-plan", second]
        run("compress", model, model, *options, *CPU)
        assert model.read_bytes() == out.read_bytes()
        model.write_bytes(original)
        run("compress", model, out, "--plan", second, *CPU)

    def test_edited_by_hand(self, run, model, saved, out):
        text = saved.read_text()
        line = next(line for line in text.splitlines() if '"conv1"' in line)
        shorter = re.sub(r'"kept": \[[\d, ]+\]', '"kept": [7, 1]', line)
        saved.write_text(text.replace(line, shorter))
        report = saved.with_name("report.json")
        run("compress", model, out, "--plan", saved, "--report", report, *CPU)
        groups = json.loads(report.read_text())["groups"]
        assert [group["kept"] for group in groups] == [2, 8, 6]
        assert {group["method"] for group in groups} == {"merge"}

    def test_the_seed_of_the_plan_stands_in_the_report(self, run, model, out, plan):
        report = plan.with_name("report.json")
        run("compress", model, "--dry-run", "--seed", 7, "--save-plan", plan, *CPU)
        run("compress", model, out, "--plan", plan, "--report", report, *CPU)
        assert json.loads(report.read_text())["seed"] == 7


class TestForeign:
    @pytest.mark.parametrize("method", ["auto", "merge", "prune"])
    def test_groups_alone(self, run, model, out, plan, method):
        plan.write_text('{"groups": {"conv1": [5, 0, 2]}}')
        second = plan.with_name("second.json")
        options = ["--plan", plan, "--method", method, "--save-plan", second, "--verify", *CPU]
        run("compress", model, out, *options)
        assert kept(second) == {
            "conv1": [0, 2, 5],
            "conv2": list(range(16)),
            "gemm1": list(range(12)),
        }
        first = out.read_bytes()
        run("compress", model, out, "--plan", second, *CPU)
        assert out.read_bytes() == first

    def test_objects_and_data(self, run, model, data, out, plan):
        plan.write_text('{"groups": [{"name": "conv2", "kept": [1, 9]}]}')
        text = run("compress", model, out, "--plan", plan, "--data", data, *PIXELS, *CPU).stdout
        assert "20 inputs of" in text
        assert re.search(r"conv2 +16 +2 +14", text)

    def test_the_plan_may_be_replaced_by_the_full_one(self, run, model, out, plan):
        plan.write_text('{"groups": {"conv1": [0, 1]}}')
        run("compress", model, out, "--plan", plan, "--save-plan", plan, *CPU)
        assert kept(plan)["conv1"] == [0, 1]
        assert "sha256" in plan.read_text()


class TestDryRun:
    def test_all_but_the_file(self, run, model, out, plan, tmp_path, monkeypatch):
        # The real one differs from run to run, and what is said of it.
        steady = Latency(1.0, 0.9, 1.1, 50)
        monkeypatch.setattr(measuring, "measure", lambda models: [steady for _ in models])
        report = tmp_path / "r.json"
        options = ["--ratio", 0.5, "--report", report, "--save-plan", plan, *CPU]
        dry = run("compress", model, out, "--dry-run", *options).stdout
        assert sorted(tmp_path.iterdir()) == sorted([model, plan, report])
        size = json.loads(report.read_text())["after"]["bytes"]
        wet = run("compress", model, out, *options).stdout
        assert out.stat().st_size == size == json.loads(report.read_text())["after"]["bytes"]

        assert dry.splitlines()[0] == f"{model} -> no model was written, as --dry-run asks"
        assert dry.splitlines()[1:] == wet.splitlines()[1:]

    def test_an_old_file_stays(self, run, model, out):
        out.write_text("old")
        run("compress", model, out, "--dry-run", *CPU)
        assert out.read_text() == "old"

    def test_out_may_be_left_out(self, run, fails, model):
        run("compress", model, "--dry-run", *CPU)
        assert "Missing argument 'OUT' (see nmcore compress --help)" in fails("compress", model)

    def test_out_is_checked_all_the_same(self, fails, model, tmp_path):
        assert "does not exist" in fails("compress", model, tmp_path / "no" / "m.onnx", "--dry-run")


class TestWrong:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--ratio", 0.5], "ratio cannot be given with a plan"),
            (["--macs", 0.5], "macs cannot"),
            (["--params", 0.5], "params cannot"),
            (["--keep", "conv1=3"], "keep cannot"),
            (["--only", "conv1"], "only cannot"),
            (["--exclude", "conv1"], "exclude cannot"),
            (["--round-to", 8], "round-to cannot"),
            (["--criterion", "l1"], "criterion cannot"),
            (["--ratio", 0.5, "--keep", "conv1=3"], "ratio and keep cannot"),
            (["--method", "prune"], "method is prune; the plan was made with merge"),
            (["--lam", 0.5], "lam is 0.5; the plan was made without it"),
            (["--seed", 3], "seed is 3; the plan was made with 0"),
        ],
    )
    def test_options(self, fails, model, out, saved, options, message):
        assert message in fails("compress", model, out, "--plan", saved, *options, *CPU)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", "is no JSON: Expecting value at line 1, column 1"),
            ("[1, 2]", 'an object with "groups" is needed'),
            ("{}", 'has no "groups"'),
            ('{"groups": {"conv9": [0]}}', "group conv9, which the model has not"),
            ('{"groups": {"gemm2": [0]}}', "gemm2, which is left alone: "),
            ('{"groups": {"conv1": [0, 8]}}', "channel 8 of group conv1"),
            ('{"groups": {"conv1": [0, 0]}}', "names channel 0 twice"),
            ('{"groups": {"conv1": []}}', "kept is empty"),
            ('{"groups": {"conv1": "all"}}', 'kept is "all"'),
            ('{"groups": {"conv1": [NaN]}}', "holds NaN"),
            ('{"groups": {"conv1\\n": [0]}}', "group conv1\\n, which the model has not"),
            (
                '{"groups": [{"name": "conv1", "width": 9, "kept": [0]}]}',
                "has 9 channels; it has 8",
            ),
            ('{"plan_version": 2, "groups": {}}', "plan_version 2; this nmcore reads 1"),
        ],
    )
    def test_contents(self, fails, model, out, plan, content, message):
        plan.write_text(content)
        assert message in fails("compress", model, out, "--plan", plan, *CPU)

    def test_files(self, fails, model, out, plan, tmp_path):
        assert "does not exist" in fails("compress", model, out, "--plan", plan)
        assert "is a directory" in fails("compress", model, out, "--plan", tmp_path)
        assert "is no JSON" in fails("compress", model, out, "--plan", model)

    def test_a_gigantic_file(self, run, model, out, plan):
        with plan.open("wb") as file:
            file.truncate(2**33)
        result = run("compress", model, out, "--plan", plan, code=2)
        assert "has 8,589,934,592 bytes" in result.stderr
        assert not out.exists()

    def test_another_model(self, fails, model, out, saved):
        network = onnx.load(model)
        network.graph.initializer[0].raw_data = network.graph.initializer[0].raw_data[::-1]
        onnx.save(network, model)
        message = fails("compress", model, out, "--plan", saved, *CPU)
        assert re.search(
            r"made for model\.onnx \(sha256 \w{12}\.\.\.\), not for model\.onnx", message
        )
        assert 'keep nothing but "groups" in the plan' in message

    def test_other_data(self, run, fails, model, out, plan, data):
        options = ["--method", "moments", "--samples", 16, *CPU]
        run("compress", model, "--dry-run", "--save-plan", plan, "--data", data, *options)
        replay = ["compress", model, out, "--plan", plan, *CPU]
        assert "made with data, data.npz (sha256" in fails(*replay)
        np.savez(data, x=np.zeros((20, 3, 8, 8), np.uint8))
        assert "not data.npz (sha256" in fails(*replay, "--data", data)
        edit(plan, data=None)
        assert "made without data: leave out data" in fails(*replay, "--data", data)

    def test_targets(self, fails, model, out, tmp_path):
        base = ["compress", model, out, "--save-plan"]
        assert "p.txt: its name must end in .json" in fails(*base, tmp_path / "p.txt")
        assert "does not exist" in fails(*base, tmp_path / "no" / "p.json")
        same = tmp_path / "x.json"
        assert "the report and the plan are the same file" in fails(*base, same, "--report", same)
        assert "OUT and the plan are the same file" in fails(
            "compress", model, same, "--save-plan", same
        )
        same.write_bytes(model.read_bytes())
        assert "IN and the plan are the same file" in fails(
            "compress", same, out, "--save-plan", same
        )

    def test_no_plan_without_a_result(self, run, model, out, plan, monkeypatch):
        from nmcore.errors import VerificationError
        from nmcore_onnx.graph import OnnxGraph

        def check(self):
            raise VerificationError("broken")

        monkeypatch.setattr(OnnxGraph, "check", check)
        run("compress", model, out, "--save-plan", plan, *CPU, code=1)
        assert not plan.exists()

    def test_a_crash_while_the_plan_is_written(self, run, model, out, plan, monkeypatch):
        plan.write_text("old")
        replace = os.replace

        def crash(source, target):
            if str(target) == str(plan):
                raise OSError(28, "No space left on device")
            replace(source, target)

        monkeypatch.setattr(os, "replace", crash)
        result = run("compress", model, out, "--save-plan", plan, *CPU, code=2)
        assert "plan.json cannot be written: No space left on device" in result.stderr
        assert plan.read_text() == "old"


def test_a_model_without_groups(run, tmp_path, out, plan):
    onnx.save(Chain().conv(8).build(), tmp_path / "m.onnx")
    run("compress", tmp_path / "m.onnx", "--dry-run", "--save-plan", plan, *CPU)
    assert kept(plan) == {}
    run("compress", tmp_path / "m.onnx", out, "--plan", plan, *CPU)
    assert out.exists()
