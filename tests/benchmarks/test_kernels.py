"""The benchmark of the other kernels: honest answers pass, and each wrong one ends it."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nmcore.bench import BASELINES, Size, WrongAnswerError, run_kernels, turns
from nmcore.bench.turns import take_turns

FOLDER = Path(__file__).parents[2] / "benchmarks" / "kernels"
SIZE = Size(40, 12, 20)
SMALL = "60x24,30"
LIBRARIES = [
    "scikit-learn argmin",
    "scikit-learn similarity",
    "scikit-learn all pairs",
    "scipy cdist",
    "torch matmul + argmax",
    "faiss IndexFlatIP",
]


@pytest.fixture(autouse=True)
def no_rest(monkeypatch):
    """Nobody reads the times of these runs."""
    monkeypatch.setattr(turns, "_REST", 0)
    monkeypatch.setattr(turns, "_LEAST", 0)
    monkeypatch.setattr(turns, "_CALLS", 1)


@pytest.fixture
def beside(monkeypatch):
    """Imports one of the programs, which find each other as a script's neighbours do."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    yield importlib.import_module
    for name in {"cases", "others", "peers", "run"} & (set(sys.modules) - before):
        del sys.modules[name]


@pytest.fixture
def cases(beside):
    return beside("cases")


@pytest.fixture
def peers(beside):
    return beside("peers")


def made(cases, case):
    rng = np.random.default_rng(0)
    return {
        "error": lambda: cases.selection_by_error(40, ("numpy", "numba"), rng, 1),
        "criteria": lambda: cases.criteria(SIZE, ("numpy", "numba"), rng, 1),
        "absorb": lambda: cases.absorption(SIZE, rng),
    }[case]()


def swapped(kept):
    """One kept channel exchanged for one that was removed."""
    wrong = kept.copy()
    wrong[3] = np.setdiff1d(np.arange(40), kept)[5]
    return np.sort(wrong)


def nudged(weight):
    wrong = weight.copy()
    wrong[2, 3] += 1
    return wrong


LIES = [
    ("error", lambda found: (swapped(found[0]), found[1]), "kept 1 wrong channels"),
    ("error", lambda found: (found[0], found[1] * 0.999), "is lost, where"),
    ("criteria", swapped, "kept other channels"),
    ("absorb", nudged, "differs from the product with Z"),
]


@pytest.mark.parametrize("case", ["error", "criteria", "absorb"])
def test_honest_answers_pass(cases, case):
    calls, check = made(cases, case)
    seconds = take_turns(calls, 1, 1, check)
    assert list(seconds) == list(calls)


@pytest.mark.parametrize(("case", "lie", "message"), LIES)
def test_every_kernel_that_lies_ends_the_benchmark(cases, case, lie, message):
    calls, check = made(cases, case)
    ours = [name for name in calls if name.startswith("nmcore")]
    assert ours
    for name in ours:
        lying = {**calls, name: lambda honest=calls[name]: lie(honest())}
        with pytest.raises(WrongAnswerError, match=f"{name}: .*{message}"):
            take_turns(lying, 1, 1, check)


def test_the_program_writes_what_it_prints(beside, tmp_path, monkeypatch, capsys):
    others = beside("others")
    target = tmp_path / "others.json"
    words = ["--width", "16", "--size", "20x8,10", "--repeats", "1", "--json", str(target)]
    monkeypatch.setattr(sys, "argv", ["others.py", *words])
    others.main()
    kept = json.loads(target.read_text())
    printed = capsys.readouterr().out
    for title, seconds in kept["seconds"].items():
        assert title.split(",")[0] in printed
        assert all(name in printed for name in seconds)
    assert len(kept["seconds"]) == 3


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_answers_and_a_wrong_answer_ends_the_benchmark(peers, name):
    module, honest = peers.LIBRARIES[name]
    pytest.importorskip(module)

    def find(weight, kept, removed, threads):
        found = honest.find(weight, kept, removed, threads).copy()
        found[7] = (found[7] + 1) % len(kept)
        return found

    result = run_kernels([SMALL], [name], 1, kernels=[], libraries={name: honest}, memory=False)
    assert result["rows"][1]["name"] == name
    assert honest.package in result["machine"]["versions"]
    lying = {name: honest._replace(find=find)}
    with pytest.raises(WrongAnswerError, match=re.escape(name) + ": channel .* is to be had"):
        run_kernels([SMALL], [name], 1, kernels=[], libraries=lying, memory=False)


def test_the_libraries_are_these(peers):
    assert list(peers.LIBRARIES) == LIBRARIES
    assert set(peers.installed()) <= set(LIBRARIES)


def test_the_program_passes_the_libraries_on(beside, peers, tmp_path, monkeypatch, capsys):
    plain = {"a library": BASELINES["numpy matmul + argmax"]}
    monkeypatch.setattr(peers, "installed", lambda: plain)
    target = tmp_path / "run.json"
    words = ["--size", SMALL, "--kernel", "numpy", "--repeats", "1", "--json", str(target)]
    monkeypatch.setattr(sys, "argv", ["run.py", *words])
    beside("run").main()
    rows = json.loads(target.read_text())["rows"]
    assert [row["name"] for row in rows[1:]] == ["nmcore numpy", *BASELINES, "a library"]
    assert all(row["peak_mb"] is not None for row in rows[1:])
    assert "a library" in capsys.readouterr().out


def test_the_program_says_what_is_not_installed(beside, peers, monkeypatch, capsys):
    monkeypatch.setattr(peers, "installed", dict)
    monkeypatch.setattr(sys, "argv", ["run.py", "--peer", "scipy cdist"])
    with pytest.raises(SystemExit):
        beside("run").main()
    assert "scipy cdist is not installed" in capsys.readouterr().err


def page(*words):
    command = [sys.executable, str(FOLDER / "page.py"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_page_is_what_its_program_writes_from_the_results(tmp_path):
    docs = FOLDER.parents[1] / "docs"
    results = tmp_path / "results"
    results.mkdir()
    for path in (docs / "results").glob("*.json"):
        shutil.copy(path, results)
    page(results, tmp_path / "speed.md")
    assert (tmp_path / "speed.md").read_text() == (docs / "speed.md").read_text()


def test_the_page_has_every_figure_of_a_run(tmp_path):
    result = run_kernels(["40x12,20"], ["double loop"], 1, kernels=["numpy"], memory=False)
    (tmp_path / "kernels-small.json").write_text(json.dumps(result))
    page(tmp_path, tmp_path / "speed.md")
    text = (tmp_path / "speed.md").read_text()
    assert "#### 40 x 12, 20 kept" in text
    for row in result["rows"]:
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {row['name']} ")]
        assert f"{row['gflops']:.1f}" in line
    assert "one turn, after one to warm up" in text
    assert f"`nmcore numpy` reaches {100 * result['rows'][1]['sgemm_share']:.0f} % of sgemm" in text
