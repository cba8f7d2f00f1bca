"""``--latency``, ``--max-drop`` and ``--round-to auto``, with a real runtime."""

from __future__ import annotations

import json
import re

import numpy as np
import onnx
import pytest

from chain import Chain
from chain import run as run_model
from nmcore.budgets.latency_search import CONFIRMATIONS
from nmcore.evaluation import latency
from nmcore.evaluation.stopwatch import Stopwatch
from nmcore.plugins import registry


def kept(plan):
    return {group["name"]: len(group["kept"]) for group in json.loads(plan.read_text())["groups"]}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "small.onnx"


@pytest.fixture
def heavy(tmp_path):
    """A model whose arithmetic takes far longer than what surrounds it."""
    path = tmp_path / "heavy.onnx"
    chain = Chain(("n", 3, 24, 24)).conv(64).node("Relu").conv(64).node("Relu").conv(64)
    onnx.save(chain.node("Relu").node("GlobalAveragePool").node("Flatten").gemm(10).build(), path)
    return path


@pytest.fixture
def classifier(tmp_path):
    """A model with channels to spare, and labels that it gets right."""
    model = Chain().conv(6).node("Relu").node("GlobalAveragePool").node("Flatten").gemm(4).build()
    weights = {t.name: onnx.numpy_helper.to_array(t).copy() for t in model.graph.initializer}
    conv, gemm = (node.input[1] for node in model.graph.node if node.op_type in ("Conv", "Gemm"))
    weights[conv][3:] = weights[conv][:3]  # Half of the channels say nothing new.
    bias = next(node.input[2] for node in model.graph.node if node.op_type == "Conv")
    weights[bias][3:] = weights[bias][:3]
    for tensor in model.graph.initializer:
        tensor.CopyFrom(onnx.numpy_helper.from_array(weights[tensor.name], tensor.name))
    x = np.random.default_rng(0).standard_normal((80, 3, 8, 8)).astype(np.float32)
    y = run_model(model, {"input": x})[0].argmax(axis=1)
    path, data, unlabelled = (tmp_path / name for name in ("c.onnx", "xy.npz", "x.npz"))
    onnx.save(model, path)
    np.savez(data, x=x, y=y)
    np.savez(unlabelled, x=x)
    assert gemm
    return path, data, unlabelled


@pytest.fixture
def clock(monkeypatch):
    """A runtime that takes as long as there are channels, and twice that for odd widths."""

    def timed(self, candidates):
        full = {group.name: group.width for group in self.graph.groups}

        def time(counts):
            odd = any(count % 8 for count in counts.values())
            return sum(counts.values()) / sum(full.values()) * (2 if odd else 1)

        return [time(counts) / time(full) for counts in candidates]

    monkeypatch.setattr(Stopwatch, "__call__", timed)


class TestLatency:
    def test_all_of_the_time_asks_for_nothing(self, run, heavy, out):
        text = run("compress", heavy, out, "--latency", 1, "--method", "merge").stdout
        assert "a latency of 1 asks for nothing: nothing was timed" in text
        assert "narrowest widths" not in text
        assert heavy.stat().st_size > 0.9 * out.stat().st_size > 0.8 * heavy.stat().st_size

    def test_it_is_met_told_and_repeated_without_timing(
        self, run, heavy, out, tmp_path, clock, monkeypatch
    ):
        plan, again = tmp_path / "plan.json", tmp_path / "again.onnx"
        text = run(
            "compress", heavy, out, "--latency", 0.6, "--save-plan", plan, "--method", "merge"
        ).stdout
        widths = kept(plan)
        assert sum(widths.values()) <= 0.6 * 192 < sum(widths.values()) + 8
        assert all(width % 8 == 0 for width in widths.values())
        assert "of the original's, at most 0.6 asked for: met to within one step of one" in text
        assert re.search(r"without which it is 0\.6\d*; timed on cpu, \d threads?, with an", text)
        assert "with an input of shape (1, 3, 24, 24)" in text
        assert re.search(r"widths in multiples of (8|16), which leave the least error at", text)
        monkeypatch.delattr(Stopwatch, "__call__")
        run("compress", heavy, again, "--plan", plan)
        assert again.read_bytes() == out.read_bytes()

    def test_a_rounding_that_is_asked_for_is_kept(self, run, heavy, out, tmp_path, clock):
        plan = tmp_path / "plan.json"
        base = ["compress", heavy, out, "--latency", 0.7, "--save-plan", plan, "--method", "merge"]
        run(*base, "--round-to", 16)
        assert all(width % 16 == 0 for width in kept(plan).values())

    def test_one_that_is_not_met_is_warned_of(self, run, heavy, out, monkeypatch):
        """As where another program starts once the narrowest widths have been timed."""
        calls = []

        def busy(self, candidates):
            calls.append(candidates)
            return [0.3 if len(calls) <= CONFIRMATIONS else 0.7] * len(candidates)

        monkeypatch.setattr(Stopwatch, "__call__", busy)
        options = ["--latency", 0.5, "--method", "merge", "--json", "--keep", "conv1=33"]
        result = run("compress", heavy, out, *options)
        data = json.loads(result.stdout)
        expected = {"kind": "latency", "asked": 0.5, "reached": 0.7, "met": False}
        assert data["budget"] == expected
        line = next(line for line in data["warnings"] if "budget is not met" in line)
        assert f"nmcore: warning: {line}" in result.stderr.splitlines()

    def test_what_cannot_be_met(self, fails, heavy, out, clock):
        message = fails("compress", heavy, out, "--latency", 0.01, "--method", "merge")
        assert "a latency of 0.01 of the original's cannot be met" in message
        assert "of it remains (on cpu, " in message

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--latency", 0], "latency is 0.0; a share above 0 and at most 1 is needed"),
            (["--latency", 1.5], "latency is 1.5"),
            (["--latency", 0.5, "--macs", 0.5], "macs and latency were given"),
            (["--latency", 0.5, "--max-drop", 1], "max-drop and latency were given"),
            (["--max-drop", 1], "max-drop needs data to judge results on"),
            (["--max-drop", -1], "max-drop is -1.0; a number of percentage points, at least 0"),
            (["--round-to", 0], "'0' is neither auto nor a whole number from 1"),
            (["--round-to", "odd"], "'odd' is neither auto"),
        ],
    )
    def test_mistakes(self, fails, model, out, options, message):
        assert message in fails("compress", model, out, *options)

    def test_plans_decide_alone(self, fails, run, model, out, tmp_path):
        plan = tmp_path / "plan.json"
        run("compress", model, "--dry-run", "--save-plan", plan, "--method", "prune")
        for option in ("--latency", "--max-drop"):
            name = option.removeprefix("--")
            message = fails("compress", model, out, "--plan", plan, option, 0.5)
            assert f"{name} cannot be given with a plan" in message

    def test_on_a_real_clock(self, run, heavy, out, monkeypatch):
        """How well it is met depends on how busy the machine is; that it got faster does not."""
        monkeypatch.setattr(latency, "PATIENCE", 0.2)
        options = ["--latency", 0.7, "--round-to", 16, "--threads", 1, "--method", "merge"]
        text = run("compress", heavy, out, *options).stdout
        (told,) = re.findall(r"latency ([\d.]+) of the original's", text)
        assert float(told) < 1
        session = registry.runtime().session(heavy, threads=1)
        stopwatch = Stopwatch(registry.open_graph(heavy), session, threads=1)
        (time,) = stopwatch([_widths(out)])
        assert time < 1


def _widths(path):
    return {group.name: group.width for group in registry.open_graph(path).groups}


class TestRounding:
    def test_auto_takes_what_is_fast(self, run, heavy, out, tmp_path, clock):
        plan = tmp_path / "plan.json"
        base = ["compress", heavy, out, "--save-plan", plan, "--method", "merge"]
        text = run(*base, "--macs", 0.6, "--round-to", "auto").stdout
        assert all(width % 8 == 0 for width in kept(plan).values())
        assert "of the original's time, the fastest, or as good, of multiples of 1, 4, 8" in text
        run(*base, "--macs", 0.6, "--round-to", 4)
        assert any(width % 8 for width in kept(plan).values())
        run(*base, "--ratio", 0.4, "--round-to", "auto")
        assert set(kept(plan).values()) == {40}


class TestDrop:
    @pytest.mark.parametrize("labelled", [True, False])
    def test_what_says_nothing_new_goes(self, run, classifier, out, tmp_path, labelled):
        model, data, unlabelled = classifier
        plan, again = tmp_path / "plan.json", tmp_path / "again.onnx"
        chosen = data if labelled else unlabelled
        text = run(
            "compress", model, out, "--max-drop", 5, "--data", chosen, "--save-plan", plan
        ).stdout
        assert kept(plan)["conv1"] <= 3
        what = "top-1 accuracy" if labelled else "agreement with the original"
        assert re.search(rf"{what} \d\.\d\d points lower \(standard error .* on 40 inputs", text)
        assert "measured on 40 inputs" in text
        # The half that was judged on is no more measured on when the plan is repeated.
        run("compress", model, again, "--plan", plan, "--data", chosen)
        assert again.read_bytes() == out.read_bytes()

    def test_what_cannot_be_met(self, fails, classifier, out, tmp_path):
        model, data, _ = classifier
        noise = np.load(data)
        wrong = tmp_path / "wrong.npz"
        np.savez(wrong, x=noise["x"], y=noise["y"])
        message = fails(
            "compress", model, out, "--max-drop", 0, "--data", wrong, "--exclude", "conv1"
        )
        assert "only and exclude leave none" in message

    def test_weights_alone_can_be_judged_as_well(self, run, classifier, out):
        model, data, _ = classifier
        text = run(
            "compress", model, out, "--max-drop", 50, "--data", data, "--method", "merge"
        ).stdout
        assert "top-1 accuracy" in text


class TestNothingToRemove:
    """A budget that no channel can go for is a mistake; a ratio of nothing is nothing."""

    @pytest.fixture
    def fixed(self, tmp_path):
        onnx.save(Chain().conv(8).build(), tmp_path / "fixed.onnx")
        return tmp_path / "fixed.onnx"

    @pytest.mark.parametrize("budget", ["macs", "params", "latency"])
    def test_a_budget(self, fails, fixed, out, budget):
        message = fails("compress", fixed, out, f"--{budget}", 0.5)
        assert message == (
            f"{budget} of 0.5 cannot be met, as no channel can be removed: "
            "its channels are the model's output 'conv1_out' (1 of 1 nodes)"
        )

    def test_a_drop(self, fails, fixed, out, data):
        message = fails("compress", fixed, out, "--max-drop", 5, "--data", data)
        assert message.startswith("max-drop has nothing to choose from: macs of")
        assert "its channels are the model's output" in message

    def test_a_budget_of_everything(self, run, fixed, out):
        assert "warning: nothing was removed" in run("compress", fixed, out, "--macs", 1).stderr


@pytest.mark.parametrize(("budget", "share"), [("macs", 0.4), ("params", 0.6)])
def test_what_a_budget_came_to(run, model, out, budget, share):
    data = json.loads(run("compress", model, out, f"--{budget}", share, "--json").stdout)
    reached = data["after"][budget] / data["before"][budget]
    assert data["budget"] == {"kind": budget, "asked": share, "reached": reached, "met": True}


def test_what_a_drop_came_to(run, classifier, out):
    model, data, _ = classifier
    told = json.loads(
        run("compress", model, out, "--max-drop", 50, "--data", data, "--json").stdout
    )["budget"]
    assert (told["kind"], told["asked"], told["met"]) == ("max-drop", 50, True)
    assert told["reached"] <= 50
