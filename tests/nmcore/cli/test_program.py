"""The program as a process, and the parts of its parser."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time

import pytest

import nmcore
from nmcore.cli import logs, progress, terminal
from nmcore.cli.options import gather_numbers
from nmcore.evaluation.evaluate import Evaluation
from nmcore.utils.logs import tell
from nmcore.utils.text import printable


def process(*args, **options):
    command = [sys.executable, "-m", "nmcore", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_version():
    done = process("--version")
    assert (done.returncode, done.stdout) == (0, f"nmcore {nmcore.__version__}\n")


@pytest.mark.parametrize("debug", [False, True])
def test_what_a_library_must_say_is_said_once(capsys, debug):
    tell.cache_clear()
    logs.start(debug=debug)
    for _ in range(2):
        tell("going on with the CPU:\x1b[2J a")
    assert capsys.readouterr() == ("", "nmcore: warning: going on with the CPU:\\x1b[2J a\n")


@pytest.mark.parametrize("command", [[], ["compress"], ["evaluate"], ["inspect"], ["bench"]])
def test_help(command):
    done = process(*command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: ")


@pytest.mark.parametrize("command", [[], ["bench"]])
def test_no_words_at_all_ask_for_help(command):
    done = process(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Commands:" in done.stdout


def test_help_imports_nothing_slow():
    code = (
        "import sys\nfrom nmcore.cli import cli\n"
        "try: cli(['--help'], prog_name='nmcore')\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'numba', 'onnx', 'onnxruntime', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_error_is_one_line_and_exit_code_2(tmp_path):
    done = process("inspect", tmp_path / "none.onnx")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"nmcore: error: {tmp_path / 'none.onnx'} does not exist\n"


def test_native_errors_are_not_seen(tmp_path):
    (tmp_path / "bad.onnx").write_text("text")
    done = process("bench", "latency", tmp_path / "bad.onnx")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert lines[-1].startswith("nmcore: error: ")
    assert len(lines) <= 2  # The other may say why CUDA is not used.


def test_debug_tells_what_is_hidden(model, tmp_path):
    done = process("--debug", "compress", model, tmp_path / "small.onnx", "--verify")
    assert done.returncode == 0
    assert "verified" in done.stderr


def test_debug_tells_the_steps_and_their_seconds(model, tmp_path):
    options = ["--macs", 0.8, "--verify", "--json"]
    done = process("--debug", "compress", model, tmp_path / "small.onnx", *options)
    told = re.findall(r"^nmcore\.utils\.logs: (.+?)(?: \.\.\.|: \d+\.\d\d s)$", done.stderr, re.M)
    for step in (
        "opening the model",
        "taking or making inputs",
        "measuring the error curves of 3 groups",
        "comparing with the published method",
        "checking the result",
        "verifying",
        "timing both models",
        "comparing both models",
    ):
        assert told.count(step) == 2, step
    assert any(step.startswith("refitting in ") for step in told)
    assert json.loads(done.stdout)["warnings"] == []
    assert "nmcore.utils.logs" not in process("compress", model, tmp_path / "again.onnx").stderr


@pytest.mark.parametrize(
    "command", [["inspect", "--sensitivity"], ["evaluate"], ["bench", "latency"], ["compress"]]
)
def test_json_is_all_that_is_printed(model, tmp_path, command):
    rest = [tmp_path / "small.onnx"] if command == ["compress"] else []
    done = process("--debug", *command, model, *rest, "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    if command != ["bench", "latency"]:
        one = found[0] if isinstance(found, list) else found
        assert isinstance(one["warnings"], list)


@pytest.mark.parametrize("place", [0, 1])
def test_quiet_stands_before_or_behind_the_command(model, place):
    """Without a graphics card a notice says so, which -q hides."""
    command = ["bench", "latency", model, "--runs", 1]
    command[place:place] = ["-q"] if place == 0 else []
    done = process(*command, *(["-q"] if place else []))
    assert (done.returncode, done.stderr) == (0, "")
    assert "median" in done.stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("compress --samp", ["plain,--samples"]),
        ("compress --method mer", ["plain,merge"]),
        ("compress --criterion l2", ["plain,l2", "plain,l2-gm"]),
        ("inspect exam", ["file,exam"]),
        ("compress in.onnx out.onnx --data exam", ["file,exam"]),
    ],
)
def test_completion(typed, offered):
    words = ["nmcore", *typed.split()]
    request = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    environment = os.environ | request | {"_NMCORE_COMPLETE": "bash_complete"}
    assert process(env=environment).stdout.split() == offered


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize("words", ["inspect {} --json", "inspect {}", "--help"])
def test_a_reader_that_stops_is_no_error(model, words):
    named = words.format(f'"{model}"')
    command = f'("{sys.executable}" -m nmcore {named}; echo $? >&2) | true'
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stderr == "0\n"


def test_a_narrow_encoding_is_no_error(model):
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    named = model.with_name("né.onnx")
    named.write_bytes(model.read_bytes())
    done = process("inspect", named, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "n\\xe9.onnx" in done.stdout


@pytest.mark.parametrize(
    ("given", "gathered"),
    [
        (["--mean", "1", "2", "m"], ["--mean=1,2", "m"]),
        (["--mean", "-1", "-.5e3", "--json"], ["--mean=-1,-.5e3", "--json"]),
        (["--mean=1", "2"], ["--mean=1", "2"]),
        (["--mean", "--", "2"], ["--mean", "--", "2"]),
        (["--", "--mean", "1", "2"], ["--", "--mean", "1", "2"]),
        (["--data", "--mean", "1"], ["--data", "--mean=1"]),
        (["--mean", "1,2", "3,"], ["--mean=1,2,3,"]),
        (["--other", "1", "2"], ["--other", "1", "2"]),
        ([], []),
    ],
)
def test_gathering_numbers(given, gathered):
    assert list(gather_numbers(given, {"--mean"})) == gathered


def test_printable_escapes_what_steers_a_terminal():
    assert printable("a\tb\x1b\u202e\ud800 ü 漢") == "a\\tb\\x1b\\u202e\\ud800 ü 漢"


class TestTerminal:
    """What a person at a terminal sees."""

    @pytest.fixture
    def tty(self, capsys, monkeypatch):
        # Set on the class: what capsys puts in the place of a stream now is another object than
        # what the test will see.
        monkeypatch.setattr(type(sys.stderr), "isatty", lambda _stream: True)

    def test_progress_yields_everything(self, tty):
        assert list(terminal.track("merging", iter(range(5)))) == list(range(5))

    def test_no_progress_in_a_pipe(self, capsys):
        assert list(terminal.track("merging", range(5))) == list(range(5))
        assert capsys.readouterr() == ("", "")

    def test_progress_shows_what_how_far_and_how_long(self, capsys, tty, monkeypatch):
        monkeypatch.setattr(progress, "PATIENCE", 0)
        monkeypatch.setenv("COLUMNS", "100")
        monkeypatch.setenv("FORCE_COLOR", "1")
        logs.start(debug=False)
        with terminal.working("compressing") as track:
            for _ in track("merging", range(3)):
                time.sleep(0.15)
        out, shown = capsys.readouterr()
        assert out == ""
        assert "compressing" in shown
        assert "merging" in shown
        assert "1/3" in shown
        assert "about 0:00 left" in shown

    def test_what_is_done_at_once_shows_no_progress(self, capsys, tty, monkeypatch):
        monkeypatch.setenv("FORCE_COLOR", "1")
        logs.start(debug=False)
        assert list(terminal.track("merging", range(5))) == list(range(5))
        assert "merging" not in capsys.readouterr().err

    def test_quiet_hides_all_but_errors(self, capsys, tty, monkeypatch):
        monkeypatch.setattr(progress, "PATIENCE", 0)
        monkeypatch.setenv("FORCE_COLOR", "1")
        logs.start(debug=False)
        logs.be_quiet()
        assert list(terminal.track("merging", range(5))) == list(range(5))
        terminal.notify("a notice")
        terminal.warn("lost")
        tell.cache_clear()
        tell("going on with the CPU")
        assert capsys.readouterr() == ("", "")

    def test_models_stand_side_by_side_where_lines_are_too_long(self, capsys, tty, monkeypatch):
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setenv("TERM", "dumb")
        figures = {"top1": 50.0, "agreement": None, "deviation": None}
        costs = (1.0, 1.0, 1.0, 1, 10**9, 10**12, 9, "cpu", 1, "d")
        result = Evaluation("m.onnx", 9, *figures.values(), "scores", figures, *costs)
        out = terminal.console()
        terminal.show(out, terminal.evaluation_table(out, [result, result]))
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split() == ["m.onnx", "m.onnx"]
        assert ["MACs", "1,000,000,000,000", "1,000,000,000,000"] in [
            line.split() for line in lines
        ]
        assert max(map(len, lines)) <= 80

    def test_long_names_lose_what_all_share_and_their_middle(self, capsys, tty, monkeypatch):
        monkeypatch.setenv("COLUMNS", "40")
        monkeypatch.setenv("LINES", "25")
        monkeypatch.setenv("TERM", "dumb")
        names = [f"/encoder/layer.{k}/{'attention/' * 4}query" for k in range(2)]
        grid = terminal.table(("group", "width"), [(name, "8") for name in names])
        terminal.show(terminal.console(), grid)
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= 40
        for k, line in enumerate(lines[-2:]):
            assert line.startswith(f"…layer.{k}/")
            assert "query" in line
            assert line.endswith("8")

    def test_names_in_a_pipe_are_whole(self, capsys):
        grid = terminal.table(("group", "width"), [("x" * 150, "8")])
        terminal.show(terminal.console(), grid)
        assert "x" * 150 in capsys.readouterr().out

    def test_ten_groups_are_listed(self, tty):
        groups = range(12)
        assert terminal.listed(groups, everything=True) == (groups, ())
        assert terminal.listed(range(10), everything=False) == (range(10), ())
        few, more = terminal.listed(groups, everything=False)
        assert (len(few), *more) == (10, "and 2 more groups; --all lists them")

    def test_in_a_pipe_all_groups_are_listed(self):
        assert terminal.listed(range(12), everything=False) == (range(12), ())
