"""What the benchmark of exported transformers counts and tells; torch is not needed for it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from chain import Chain

FOLDER = Path(__file__).parents[2] / "benchmarks" / "coverage"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    import transformer_exports

    yield transformer_exports
    for name in {"transformer_exports", "transformer_models"} & (set(sys.modules) - before):
        del sys.modules[name]


def save(path):
    """A table of words, a hidden layer of 24 and its bias, and an integer constant."""
    chain = Chain((1, 5))
    table = chain.constant(chain.weight(211, 8))
    chain.raw("Gather", table, chain.raw("Cast", "input", to=7).value)
    chain.width = 8
    chain.matmul(24).node("Relu").matmul(8, bias=False)
    chain.node("Reshape", np.array([1, -1]))
    onnx.save(chain.build(), path)
    return path


def test_tables_of_words_and_integers_are_not_counted(tmp_path, benchmark):
    params, fused = benchmark.shared_params(save(tmp_path / "model.onnx"))
    assert params == 8 * 24 + 24 + 24 * 8
    assert not fused


def test_the_share_is_of_what_is_counted(tmp_path, benchmark):
    path = save(tmp_path / "model.onnx")
    record = benchmark.tell(path, benchmark.parse(["--ratio", "0.25"]))
    assert record["ended"] == "compressed"
    assert record["share"] == (8 * 18 + 18 + 18 * 8) / record["params"]


def test_the_table_tells_why_much_is_kept(benchmark):
    records = {
        "small": {"older": {"ended": "compressed", "share": 0.5, "reasons": [["not told", 1]]}},
        "large": {
            "older": {"ended": "compressed", "share": 0.9, "reasons": [["LSTM: a state", 2]]},
            "newer": {"ended": "not exported", "said": "it cannot be"},
        },
    }
    text = benchmark.table(records, 0.55)
    assert "| small | 0.500 | not run |" in text
    assert "| large | 0.900 | not exported |" in text
    assert "2 x LSTM: a state" in text
    assert "not told" not in text
    assert "it cannot be" in text
