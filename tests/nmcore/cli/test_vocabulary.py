"""``nmcore compress --vocabulary``."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

import nmcore
from encoder import NAMES, WORDS, encoder, padded, texts

FEW = 24


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(encoder(), path)
    return path


@pytest.fixture
def words(tmp_path):
    """Texts of every third word."""
    feeds = padded(texts(100))
    feeds[NAMES[0]] = np.minimum(feeds[NAMES[0]] * 3 // 3, WORDS - 1) // 3 * 3
    path = tmp_path / "words.npz"
    np.savez(path, **feeds)
    return path


def shapes(path):
    return [list(each.dims) for each in onnx.load(path).graph.initializer if each.dims]


def test_rows_of_the_data_stay(run, model, words, tmp_path):
    small = tmp_path / "s.onnx"
    told = run(
        "compress", model, small, "--vocabulary", FEW, "--data", words, "--verify", "--json"
    ).stdout
    found = json.loads(told)
    ids = np.load(words)[NAMES[0]]
    vocabulary = found["vocabulary"]
    assert vocabulary["rows"] == WORDS
    assert vocabulary["kept"] == FEW
    assert vocabulary["looked_up"] == len(np.unique(ids))
    assert 0 < vocabulary["error"] < 1
    assert vocabulary["unseen"]["held"]
    assert found["fidelity"] == vocabulary["unseen"]
    assert not any(group["width"] - group["kept"] for group in found["groups"])
    # Texts of rows that stay are as they were.
    figures = json.loads(run("evaluate", model, small, "--data", words, "--json").stdout)
    assert figures[1]["deviation"] < 1e-4


def test_and_channels(run, model, words, tmp_path):
    small = tmp_path / "s.onnx"
    told = run("compress", model, small, "--vocabulary", FEW, "--ratio", 0.25, "--data", words)
    assert "a vocabulary of this size that" in told.stdout
    assert max(dims[0] for dims in shapes(small)) == WORDS  # what each id is made of
    assert [FEW, 16] in shapes(small)
    assert [WORDS, 16] not in shapes(small)
    result = nmcore.compress(model, vocabulary=FEW, ratio=0.25, data=words)
    again = nmcore.compress(model, plan=result.plan, data=words)
    assert again.graph.serialize() == result.graph.serialize()


def test_fewer_rows_than_the_data_looks_up_are_warned_of(run, model, words, tmp_path):
    told = run("compress", model, tmp_path / "s.onnx", "--vocabulary", 5, "--data", words)
    assert "and 5 were asked for: rows that are needed are made of others" in told.stderr
    assert "of which the most frequent stay" in told.stdout


def test_listed_rows(run, model, tmp_path):
    listed = tmp_path / "ids.txt"
    listed.write_text("0, 5\n7 59")
    run("compress", model, tmp_path / "s.onnx", "--vocabulary", listed)
    by_file = nmcore.compress(model, vocabulary=listed)
    by_ids = nmcore.compress(model, vocabulary=[59, 7, 5, 0])
    assert by_file.vocabulary.kept == 4
    assert by_file.graph.serialize() == by_ids.graph.serialize()
    again = nmcore.compress(model, plan=by_file.plan)
    assert again.graph.serialize() == by_file.graph.serialize()


def test_budget_counts_the_rows(model):
    """The share is of the original's parameters."""
    rows = nmcore.compress(model, vocabulary=FEW)
    share = 0.9 * rows.after.params / rows.before.params
    found = nmcore.compress(model, vocabulary=FEW, params=share, method="merge")
    assert found.budget.asked == share
    assert 0.9 * share < found.budget.reached <= share


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("60", "vocabulary is 60; fewer than the 60 rows of"),
        ("0", "vocabulary is '0'; a number of rows from 1, ids, or a file of ids is needed"),
        ("0.5", "vocabulary is '0.5'; a number of rows from 1"),
        ("none.txt", "none.txt: No such file or directory"),
        ("words.txt", "'the' is no id; whole numbers are needed"),
        ("far.txt", "ids from 0 to 59 are needed"),
        ("empty.txt", "ids from 0 to 59 are needed"),
    ],
)
def test_what_cannot_be(fails, model, tmp_path, monkeypatch, given, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.txt").write_text("1 the 3")
    (tmp_path / "far.txt").write_text("1 60")
    (tmp_path / "empty.txt").write_text("")
    assert said in fails("compress", model, "s.onnx", "--vocabulary", given)


def test_models_without_tables(fails, tmp_path):
    from small import small_network

    onnx.save(small_network().build(), tmp_path / "m.onnx")
    told = fails("compress", tmp_path / "m.onnx", tmp_path / "s.onnx", "--vocabulary", 3)
    assert "the model has no embedding table" in told


def test_a_plan_says_which(fails, model, tmp_path):
    result = nmcore.compress(model, vocabulary=[1, 2, 3])
    result.plan.save(tmp_path / "p.json")
    told = fails(
        "compress", model, tmp_path / "s.onnx", "--plan", tmp_path / "p.json", "--vocabulary", 4
    )
    assert "vocabulary cannot be given with a plan" in told
