"""``nmcore compress``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from chain import Chain
from chain import run as run_model
from nmcore.errors import ModelError, VerificationError
from nmcore.evaluation import evaluate
from nmcore.evaluation.latency import Latency
from nmcore.pipeline import measuring


@pytest.fixture
def out(tmp_path):
    return tmp_path / "small.onnx"


def widths(path):
    """How many channels each weighted node of a model makes."""
    shapes = {t.name: t.dims for t in onnx.load(path).graph.initializer}
    weighted = [n for n in onnx.load(path).graph.node if n.op_type in ("Conv", "Gemm")]
    return {node.name: shapes[node.input[1]][0] for node in weighted}


def kept(report):
    return {group["name"]: group["kept"] for group in json.loads(report.read_text())["groups"]}


class TestResult:
    def test_the_file_is_smaller_and_runs(self, run, model, out):
        run("compress", model, out, "--ratio", 0.5)
        onnx.checker.check_model(str(out), full_check=True)
        assert widths(out) == {"conv1": 4, "conv2": 8, "gemm1": 6, "gemm2": 10}
        (y,) = run_model(out.read_bytes(), {"input": np.zeros((2, 3, 8, 8), np.float32)})
        assert y.shape == (2, 10)
        assert out.stat().st_size < model.stat().st_size

    def test_half_of_the_channels_go_unless_told_otherwise(self, run, model, out):
        run("compress", model, out)
        assert widths(out)["conv1"] == 4

    def test_the_text(self, run, model, out):
        text = run("compress", model, out, "--providers", "cpu").stdout
        lines = text.splitlines()
        assert lines[0] == f"{model} -> {out}"
        rows = {line.split("  ")[0].strip(): line.split() for line in lines if line}
        assert rows["nodes"] == ["nodes", "9", "9", "="]
        assert rows["parameters"][1] == "1,726"
        assert {"MACs", "file size", "latency"} <= set(rows)
        assert rows["conv1"][:3] == ["conv1", "8", "4"]
        assert int(rows["conv1"][3]) + int(rows["conv1"][4]) == 4
        assert "left alone: 1 node" in lines
        measured = "checked and loaded; latency: median of warm runs on cpu, "
        assert any(line.startswith(measured) for line in lines)
        assert lines[-1].startswith("cost: on 64 synthetic inputs (real ones may fare worse): ")
        meaning = "agreement: percent of inputs with the same top class; deviation"
        assert any(line.startswith(meaning) for line in lines)
        assert text.isascii()
        assert "\x1b" not in text

    def test_verified(self, run, model, out):
        assert "checked, verified and loaded" in run("compress", model, out, "--verify").stdout

    def test_in_place(self, run, model, tmp_path):
        size, report = model.stat().st_size, tmp_path / "r.json"
        run("compress", model, model, "--overwrite", "--report", report)
        assert widths(model)["conv1"] == 4
        assert json.loads(report.read_text())["before"]["bytes"] == size

    @pytest.mark.parametrize("kind", ["the same name", "a link", "another path"])
    def test_the_original_is_not_replaced_unasked(self, fails, run, model, kind, tmp_path):
        other = model
        if kind == "a link":
            other = tmp_path / "link.onnx"
            other.symlink_to(model)
        elif kind == "another path":
            (tmp_path / "sub").mkdir()
            other = tmp_path / "sub" / ".." / model.name
        message = fails("compress", model, other)
        assert message.startswith(f"OUT is IN, {other}: the original would be lost; ")
        assert "--overwrite" in message
        before = model.read_bytes()
        run("compress", model, other, "--dry-run")
        assert model.read_bytes() == before

    @pytest.mark.parametrize("name", ["data.npz", "small", "small.onnx.bak", "page.html"])
    def test_out_is_a_model_by_its_name(self, fails, model, tmp_path, data, name):
        message = fails("compress", model, tmp_path / name, "--overwrite")
        assert message == f"OUT {tmp_path / name}: its name must end in .onnx"

    def test_out_may_end_as_in_does(self, run, model, tmp_path):
        other = model.rename(tmp_path / "model.bin")
        run("compress", other, tmp_path / "small.bin", "--method", "prune")
        assert widths(tmp_path / "small.bin")["conv1"] == 4

    def test_what_is_wrong_with_in_is_said_first(self, fails, tmp_path, out):
        for target in (out, tmp_path / "page.html"):
            message = fails("compress", tmp_path / "none.html", target, "--report", "r.txt")
            assert message == f"{tmp_path / 'none.html'} does not exist"

    def test_what_is_read_is_not_replaced(self, fails, run, model, data, tmp_path):
        out = data.rename(tmp_path / "data.onnx")
        assert "the data and OUT are the same file" in fails(
            "compress", model, out, "--data", out, "--overwrite"
        )
        plan = tmp_path / "plan.json"
        run("compress", model, "--dry-run", "--save-plan", plan)
        message = fails("compress", model, tmp_path / "o.onnx", "--plan", plan, "--report", plan)
        assert "the plan and the report are the same file" in message
        assert "IN and the report are the same file" in fails(
            "compress", plan, tmp_path / "o.onnx", "--report", plan
        )

    def test_an_old_file_is_replaced_and_nothing_is_left_beside_it(self, run, model, out, tmp_path):
        out.write_text("old")
        run("compress", model, out)
        assert widths(out)["conv1"] == 4
        assert sorted(tmp_path.iterdir()) == [model, out]

    def test_a_link_stays_a_link(self, run, model, out, tmp_path):
        (tmp_path / "target.onnx").write_text("old")
        out.symlink_to("target.onnx")
        run("compress", model, out)
        assert out.is_symlink()
        assert widths(tmp_path / "target.onnx")["conv1"] == 4

    def test_nothing_to_remove_is_written_and_said(self, run, tmp_path, out):
        onnx.save(Chain().conv(8).build(), tmp_path / "m.onnx")
        lines = run("compress", tmp_path / "m.onnx", out).stderr.splitlines()
        (line,) = (line for line in lines if "warning: nothing was removed: " in line)
        assert "output" in line
        assert out.exists()

    def test_quiet_prints_nothing(self, run, model, out):
        done = run("-q", "compress", model, out, "--ratio", 0)
        assert (done.stdout, done.stderr) == ("", "")
        assert out.exists()

    def test_the_outcome_stands_at_the_end(self, run, model, out):
        lines = run("compress", model, out, "--method", "merge").stdout.splitlines()[-3:]
        assert [line.split(":")[0] for line in lines] == ["size", "speed", "cost"]
        assert "kB -> " in lines[0]
        assert "MACs -" in lines[1]
        assert "synthetic inputs" in lines[2]

    def test_what_no_width_can_reach_is_refused_at_once(self, fails, run, model, out, monkeypatch):
        monkeypatch.setattr("nmcore.pipeline.compress.calibration_set_for", None)
        said = fails("compress", model, out, "--macs", 0.00001)
        start = "macs of 1e-05 cannot be met: with as few channels as possible in every group that "
        assert said.startswith(f"{start}may be cut, the least is 0.")
        least = said.rpartition(" ")[2]
        run("compress", model, out, "--macs", least, "--method", "merge", "--round-to", 1)

    def test_keeping_everything_is_said(self, run, model, out):
        text = run("compress", model, out, "--ratio", 0).stderr
        assert "warning: nothing was removed: the options keep all channels" in text
        assert widths(out) == widths(model)


class TestOptions:
    def test_keep_only_exclude(self, run, model, out, tmp_path):
        report = tmp_path / "r.json"
        base = ["compress", model, out, "--report", report]
        run(*base, "--keep", "conv*=3", "--keep", "conv2=5")
        assert kept(report) == {"conv1": 3, "conv2": 5, "gemm1": 12}
        run(*base, "--ratio", 0.5, "--keep", "conv2=5")
        assert kept(report) == {"conv1": 4, "conv2": 5, "gemm1": 6}
        run(*base, "--only", "conv1", "--only", "gemm*")
        assert kept(report) == {"conv1": 4, "conv2": 16, "gemm1": 6}
        run(*base, "--exclude", "conv1", "--exclude", "gemm?")
        assert kept(report) == {"conv1": 8, "conv2": 8, "gemm1": 12}

    def test_a_name_with_an_equals_sign(self, run, tmp_path, out):
        network = Chain().conv(8).node("Relu").conv(4).build()
        network.graph.node[0].name = "a=b"
        onnx.save(network, tmp_path / "m.onnx")
        run("compress", tmp_path / "m.onnx", out, "--keep", "a=b=3")
        assert widths(out)["a=b"] == 3

    def test_methods_and_criteria(self, run, model, out, tmp_path):
        report = tmp_path / "r.json"
        base = ["compress", model, out, "--report", report]
        run(*base, "--method", "prune", "--criterion", "l2")
        for group in json.loads(report.read_text())["groups"]:
            assert (group["method"], group["merged"]) == ("prune", 0)
        run(*base, "--method", "merge", "--threshold", -1, "--lam", 0.5, "--bn-form", "folded")
        for group in json.loads(report.read_text())["groups"]:
            assert (group["method"], group["left_out"]) == ("merge", 0)

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (["--method", "prune", "--threshold", 0.1, "--lam", 0.5], "threshold, lam: not used"),
            (["--method", "prune", "--samples", 8], "samples: not used by method prune"),
            (["--threshold", 0.1, "--samples", 8], "samples: not used by method merge"),
            (["--method", "merge", "--threshold", 0.1, "--bn-form", "folded"], ""),
            (["--samples", 8], ""),
        ],
    )
    def test_options_that_a_method_does_not_read(self, run, model, out, options, said):
        lines = run("compress", model, out, *options).stdout.splitlines()
        found = [line for line in lines if "not used" in line]
        assert len(found) == (1 if said else 0)
        assert all(said in line for line in found)

    def test_the_seed_decides_what_is_random(self, run, model, out):
        def written(seed):
            run("compress", model, out, "--criterion", "random", "--seed", seed)
            return out.read_bytes()

        assert written(1) == written(1) != written(2)

    def test_the_report(self, run, model, out, tmp_path):
        report = tmp_path / "r.json"
        run("compress", model, out, "--report", report, "--seed", 3, "--keep", "conv1=2")
        data = json.loads(report.read_text())
        assert data["before"]["bytes"] == model.stat().st_size
        assert data["after"]["bytes"] == out.stat().st_size
        assert data["before"]["params"] == 1726 > data["after"]["params"]
        assert data["before"]["latency_ms"] > 0 < data["after"]["latency_ms"]
        assert data["declined"][0]["node"] == "gemm2"
        assert data["seed"] == 3
        assert data["command"].startswith(f"nmcore compress {model} {out} --report")
        assert "onnx" in data["versions"]
        assert (data["fidelity"]["n"], data["fidelity"]["synthetic"]) == (64, True)

    def test_json_is_the_report_and_nothing_else(self, run, model, out, tmp_path):
        report = tmp_path / "r.json"
        args = ["compress", model, out, "--json", "--report", report]
        shown, saved = json.loads(run(*args).stdout), json.loads(report.read_text())
        timed = ("latency_ms", "latency_low_ms", "latency_high_ms")
        for data in (shown, saved):
            for key in timed:
                assert data["before"].pop(key) > 0 < data["after"].pop(key)
        assert shown == saved
        assert shown["warnings"] == []

    def test_a_result_that_lost_its_accuracy_is_warned_of(self, run, model, out):
        result = run("compress", model, out, "--ratio", 0.9, "--method", "prune", "--json")
        (line,) = (each for each in result.stderr.splitlines() if "warning: " in each)
        assert line.startswith("nmcore: warning: accuracy may be gone: ")
        assert "--data" in line
        assert json.loads(result.stdout)["warnings"] == [line.removeprefix("nmcore: warning: ")]

    def test_patterns_say_how_many_groups_they_match(self, run, model, out):
        text = run("compress", model, out, "--only", "conv*", "--exclude", "conv2").stdout
        assert "only matches 2 of 3 groups" in text
        assert "exclude matches 1 of 3 groups" in text

    def test_patterns_are_counted_by_the_groups_they_match(self, run, fails, model, out):
        text = run("compress", model, out, "--exclude", "gemm2").stdout
        assert "exclude matches 0 of 3 groups: what it names is left alone in any case" in text
        for option in ("--only", "--exclude"):
            message = fails("compress", model, out, option, "none")
            assert message.endswith("matches no group; `nmcore inspect` lists the 3 there are")
        message = fails("compress", model, out, "--keep", "Conv1=3")
        assert message.endswith("lists the 3 there are; did you mean 'conv1'?")
        message = fails("compress", model, out, "--keep", "conv*=3", "--exclude", "conv*")
        assert message == (
            "keep 'conv*' matches 2 groups, but only and exclude leave alone whatever it matches"
        )

    def test_a_ratio_says_that_it_cuts_streams(self, run, tmp_path, out):
        chain = Chain().conv(8).node("Relu")
        start = chain.value
        chain.conv(8, pads=[1] * 4).raw("Add", chain.value, start).node("Relu").conv(4)
        onnx.save(chain.build(), tmp_path / "m.onnx")
        args = ["compress", tmp_path / "m.onnx", out, "--method", "merge"]
        assert "cut as well: conv1, a residual stream" in run(*args).stdout
        assert "cut as well" not in run(*args, "--macs", 0.8).stdout

    def test_each_reason_is_said_once(self, run, model, out):
        lines = run("compress", model, out, "--only", "conv*").stdout.splitlines()
        assert "chosen by error, the next layer refitted after each removal: conv1, conv2" in lines
        assert not any(line.startswith("error:") for line in lines)
        assert "all channels kept: gemm1" in lines
        assert "why" not in "".join(lines)


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--ratio", "1"], "ratio is 1.0"),
            (["--ratio", "-0.1"], "ratio is -0.1"),
            (["--ratio", "nan"], "ratio is nan"),
            (["--ratio", "half"], "'half' is not a valid float"),
            (["--keep", "nothing*=3"], "keep 'nothing*' matches no group"),
            (["--keep", "gemm2=3"], "keep 'gemm2' names gemm2, which is left alone"),
            (["--keep", "conv1=0"], "keep is 0 for group conv1"),
            (["--keep", "conv1=9"], "it must be from 1 to 8"),
            (["--keep", "conv1"], "is not of the form PATTERN=COUNT"),
            (["--keep", "conv1=many"], "is not of the form PATTERN=COUNT"),
            (["--keep", "=3"], "is not of the form PATTERN=COUNT"),
            (["--only", "none"], "only 'none' matches no group"),
            (["--exclude", "none"], "exclude 'none' matches no group"),
            (["--only", "conv1", "--exclude", "conv*"], "leave none of the 3 groups"),
            (["--method", "magic"], "'magic' is not one of 'auto', 'prune', 'merge'"),
            (["--criterion", "magic"], "'magic' is not one of"),
            (["--bn-form", "magic"], "'magic' is not one of 'auto', 'released', 'folded'"),
            (["--mean", "1", "2"], "mean or std has 2 numbers; the model's input 'input' has 3"),
            (["--threshold", "2x"], "'2x' is not a valid float"),
            (["--lam", "2"], "lam"),
            (["--seed", "-1"], "-1 is not in the range"),
            (["--providers", "tpu"], "provider 'tpu' is not known"),
            (["--providers", ","], "no provider is given"),
            (["--unknown"], "No such option"),
            (["extra"], "unexpected extra argument"),
        ],
    )
    def test_options(self, fails, model, out, options, message):
        assert message in fails("compress", model, out, *options)

    def test_no_out(self, fails, model):
        assert "Missing argument 'OUT'" in fails("compress", model)

    def test_no_command(self, fails):
        assert "No such command 'magic'" in fails("magic")

    @pytest.mark.parametrize("command", ["inspect", "compress"])
    @pytest.mark.parametrize("kind", ["missing", "directory", "text", "empty", "truncated", "zip"])
    def test_models(self, fails, model, out, tmp_path, command, kind):
        bad = tmp_path / "bad.onnx"
        contents = {"text": b"I am a text file.\n", "empty": b"", "zip": b"PK\x03\x04" + bytes(99)}
        if kind == "directory":
            bad.mkdir()
        elif kind == "truncated":
            bad.write_bytes(model.read_bytes()[:-1000])
        elif kind in contents:
            bad.write_bytes(contents[kind])
        assert str(bad) in fails(command, bad, *([out] if command == "compress" else []))

    def test_targets(self, fails, model, tmp_path):
        assert "is a directory" in fails("compress", model, tmp_path)
        assert "does not exist" in fails("compress", model, tmp_path / "no" / "such" / "m.onnx")
        report = ["--report", tmp_path / "no" / "r.json"]
        assert "does not exist" in fails("compress", model, tmp_path / "m.onnx", *report)
        report = ["--report", tmp_path / "r.txt"]
        assert "must end in .json" in fails("compress", model, tmp_path / "m.onnx", *report)
        same = tmp_path / "m.json"
        assert "the same file" in fails("compress", model, same, "--report", same)

    @pytest.mark.skipif(not os.path.exists("/dev/null"), reason="needs POSIX devices")
    def test_a_device_is_not_replaced(self, fails, model):
        assert "no regular file" in fails("compress", model, "/dev/null")

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
    def test_a_folder_that_cannot_be_written_to(self, fails, model, tmp_path):
        (tmp_path / "locked").mkdir(mode=0o500)
        assert "written" in fails("compress", model, tmp_path / "locked" / "m.onnx")

    def test_a_path_with_a_line_break(self, fails, tmp_path, out):
        assert "no\\nsuch.onnx does not exist" in fails("compress", tmp_path / "no\nsuch.onnx", out)


class TestBugs:
    """What is not the user's fault keeps its traceback, and still nothing is written."""

    def broken(self, run, model, out):
        result = run("compress", model, out, code=1)
        assert not out.exists()
        return result.exception

    def test_a_result_that_is_not_valid(self, run, model, out, monkeypatch):
        from nmcore_onnx.graph import OnnxGraph

        def check(self):
            raise VerificationError("broken")

        monkeypatch.setattr(OnnxGraph, "check", check)
        assert isinstance(self.broken(run, model, out), VerificationError)

    @pytest.mark.parametrize("stage", ["session", "run"])
    def test_a_result_that_does_not_load_or_run(self, run, model, out, monkeypatch, stage):
        from nmcore_ort import OrtRuntime, OrtSession

        session, run_session = OrtRuntime.session, OrtSession.run

        def load(self, model, **options):
            loaded = session(self, model, **options)
            loaded.compressed = isinstance(model, Path) and model.name == out.name
            if loaded.compressed and stage == "session":
                raise ModelError("broken")
            return loaded

        def run_broken(self, feeds, **options):
            if self.compressed and stage == "run":
                raise ModelError("broken")
            return run_session(self, feeds, **options)

        monkeypatch.setattr(OrtRuntime, "session", load)
        monkeypatch.setattr(OrtSession, "run", run_broken)
        error = self.broken(run, model, out)
        assert isinstance(error, VerificationError)
        assert "but the result does not" in str(error)


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_crash_while_writing_leaves_the_old_file(model, out, moment):
    out.write_text("old")
    code = (
        f"import os; os.{moment} = lambda *_: os._exit(9)\n"
        "from nmcore.cli import cli; cli(prog_name='nmcore')"
    )
    command = [sys.executable, "-c", code, "compress", str(model), str(out)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 9
    assert out.read_text() == "old"


def test_a_model_that_runs_on_no_random_input_has_no_latency(run, tmp_path, out):
    # Its second input must be 3, which nothing in the graph says.
    chain = Chain(("n", 3, 8, 8)).conv(8).node("Relu").conv(3).node("GlobalAveragePool")
    chain.raw("Reshape", chain.value, "size")
    network = chain.build("reshape1_out", check=False)
    size = onnx.helper.make_tensor_value_info("size", onnx.TensorProto.INT64, [1])
    network.graph.input.append(size)
    onnx.save(network, tmp_path / "m.onnx")
    result = run("compress", tmp_path / "m.onnx", out, "--providers", "cpu")
    assert "no latency: " in result.stderr
    assert out.exists()


class TestLatency:
    """What is said of latencies, with a clock that is made up."""

    @pytest.fixture
    def times(self, monkeypatch):
        def set_times(before, after, spread=1.1):
            found = [Latency(ms, ms / spread, ms * spread, 50) for ms in (before, after)]
            monkeypatch.setattr(measuring, "measure", lambda _models: found)

        return set_times

    def row(self, text):
        return next(line for line in text.splitlines() if line.startswith("latency"))

    @pytest.mark.parametrize(
        ("before", "after", "spread", "told"),
        [
            (2.0, 1.0, 1.08, "-50.0 % (-57 to -42)"),
            (1.0, 2.0, 1.1, "+100.0 % (+65 to +142)"),
            (2.0, 1.9, 1.1, "not certain"),
            (2.0, 2.0, 1.0, "not certain"),
            # A median of nothing but noise.
            (100.0, 2.0, 10.0, "not certain"),
        ],
    )
    def test_a_change_is_told_with_its_spread(
        self, run, model, out, times, tmp_path, before, after, spread, told
    ):
        times(before, after, spread)
        page = tmp_path / "r.html"
        text = run("compress", model, out, "--method", "prune", "--report", page).stdout
        row = f"{before:.3g} ms {after:.3g} ms {told}"
        assert " ".join(self.row(text).split()).endswith(row)
        assert ("the change of latency is not certain" in text) == (told == "not certain")
        assert ("not certain" in page.read_text()) == (told == "not certain")

    def test_noise_is_told(self, run, model, out, times):
        times(2.0, 1.0, spread=2)
        text = run("compress", model, out, "--method", "prune").stdout
        assert "latency is uncertain: runs of one model differ more than twofold" in text

    def test_why_it_did_not_get_faster(self, run, model, out, times, tmp_path):
        report = tmp_path / "r.json"
        options = ["--method", "prune", "--ratio", 0.4, "--report", report]
        times(2.0, 2.1)
        assert "no certain gain of time with 0.4" in run("compress", model, out, *options).stdout
        times(2.0, 2.2, spread=1.02)
        text = run("compress", model, out, *options).stdout
        assert "1.10 of the time with 0.4" in text
        assert "of 3 cut groups keep no multiple of 8 channels" in text
        (line,) = json.loads(report.read_text())["shortfall"]
        assert line in text
        times(2.0, 0.8)
        assert "cut groups" not in run("compress", model, out, *options).stdout
        assert json.loads(report.read_text())["shortfall"] == []

    def test_evaluate_doubts_each_number(self, run, model, data, monkeypatch):
        found = [Latency(1.0, 0.9, 1.1, 50), Latency(2.0, 0.5, 4.0, 50)]
        monkeypatch.setattr(evaluate, "measure", lambda _models, _runs: found)
        lines = run("evaluate", model, model, "--data", data).stdout.splitlines()
        first, second = (line for line in lines if line.startswith(str(model)))
        assert "2 ms, uncertain" in second
        assert "uncertain" not in first


def test_weights_in_a_file_beside_the_model(run, model, out):
    run("compress", model, out, "--method", "merge", "--save-as-external-data")
    (weights,) = out.parent.glob(f"{out.name}.*.data")
    assert weights.stat().st_size > 0
    inside = run("compress", model, out, "--method", "merge")
    assert "checked and loaded" in inside.stdout
    assert not list(out.parent.glob(f"{out.name}.*.data"))
    onnx.checker.check_model(out, full_check=True)
