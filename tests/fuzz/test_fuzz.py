"""A short run of the fuzzer; ``python tests/fuzz/fuzz.py --inputs 200000`` is the long one."""

from __future__ import annotations

import importlib.util
import signal
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGPROF"), reason="no alarms here")

HERE = Path(__file__).parent
SHORT = 60


@pytest.fixture(scope="module")
def fuzz():
    """The program, as a module; it finds its neighbours by itself."""
    spec = importlib.util.spec_from_file_location("fuzz", HERE / "fuzz.py")
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


def test_damaged_models_give_an_error_or_a_result(fuzz):
    ends = [(number, *fuzz.limited(number)) for number in range(SHORT)]
    assert [end for end in ends if end[1] not in ("error", "result")] == []
    assert {how for _, how, _ in ends} == {"error", "result"}  # else it tries nothing


# What longer runs found, each by its number.
FOUND = {
    188: "an attribute that holds a tensor of no type",
    257: "a data file whose name is too long for the system",
    329: "an attribute of no type, which cannot be written again",
    531: "a name that is no text, which cannot be written again",
}


# The same of models that can be compressed all the same.
SPARED = {
    140301: "heads whose width a damaged shape says to be billions",
    185687: "a target of a Reshape that has fewer entries than its input",
}


@pytest.mark.parametrize("number", [*FOUND, *SPARED])
def test_what_was_found_before(fuzz, number):
    assert fuzz.limited(number) == ("error" if number in FOUND else "result", "")


def test_the_same_number_is_the_same_input(fuzz):
    assert fuzz.input_of(5) == fuzz.input_of(5) != fuzz.input_of(5 + fuzz.GRAPHS)


def test_nothing_is_counted_where_even_an_undamaged_model_fails(fuzz, monkeypatch):
    monkeypatch.setattr(fuzz, "attempt", lambda *_: "error")
    with pytest.raises(SystemExit, match="undamaged"):
        fuzz.run(0, 1, None)


def test_what_ends_badly_is_told(fuzz, monkeypatch):
    monkeypatch.setattr(fuzz, "attempt", lambda *_: 1 / 0)
    assert fuzz.limited(0)[0] == "traceback"
    monkeypatch.setattr(fuzz, "attempt", lambda *_: bytearray(2**60))
    assert fuzz.limited(0)[0] == "memory"
    monkeypatch.setattr(fuzz, "SECONDS", 1)
    monkeypatch.setattr(fuzz, "attempt", lambda *_: all(number == 0 for number in iter(int, 1)))
    assert fuzz.limited(0)[0] == "hang"
