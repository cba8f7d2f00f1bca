"""Batches that do not fit into memory are halved, and what comes of them adds up."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import pytest

import nmcore
from chain import Chain, run
from nmcore.compression.moments import average
from nmcore.data.batches import BatchRunner
from nmcore.data.dataset import Dataset
from nmcore.errors import ModelError, OutOfMemoryError
from nmcore.evaluation.fidelity import fidelity
from nmcore.plugins import registry
from nmcore_ort.session import OrtSession


class Small:
    """A session that sums its inputs, of which it holds only so many at once."""

    def __init__(self, fits):
        self.fits, self.ran = fits, []

    def run(self, feeds, *, divisible=False):
        x = feeds["x"]
        self.ran.append((len(x), divisible))
        if len(x) > self.fits:
            raise OutOfMemoryError("the model does not run: memory does not suffice")
        return [np.float32([len(x)]), x.sum(0), feeds["rate"]]


def batch(length, rate=2):
    x = np.arange(3 * length, dtype=np.float32).reshape(length, 3)
    return {"x": x, "rate": np.array([rate])[0]}


@pytest.mark.parametrize(
    ("fits", "tried"),
    [(20, [11]), (10, [11, 6, 5]), (5, [11, 6, 3, 3, 3, 2]), (1, [11, 6, 3, 2, *[1] * 11])],
)
def test_halves_until_one_fits(fits, tried):
    session = Small(fits)
    parts = list(BatchRunner(session, divisible=True)(batch(11)))
    assert session.ran == [(count, count > 1) for count in tried]
    assert sum(count for count, _ in parts) == 11
    assert sum(outputs[1] for _, outputs in parts).tolist() == batch(11)["x"].sum(0).tolist()
    assert all(outputs[2] == 2 for _, outputs in parts)


def accumulate(session, batches, *, divisible=True):
    """The sums of a session's outputs over all runs."""
    divided = BatchRunner(session, divisible)
    runs = [outputs for feeds in batches for _, outputs in divided(feeds)]
    return [sum(each) for each in zip(*runs, strict=True)]


def test_what_did_not_fit_is_not_tried_again():
    session = Small(4)
    divided = BatchRunner(session, divisible=True)
    for length in (16, 16, 3):
        assert sum(count for count, _ in divided(batch(length))) == length
    assert [count for count, _ in session.ran] == [16, 8, *[4] * 8, 3]


def test_sums_are_those_of_whole_batches():
    batches = [batch(9), batch(9), batch(4)]
    whole, parts = (accumulate(Small(fits), batches) for fits in (9, 2))
    assert [each.tolist() for each in parts[:2]] == [each.tolist() for each in whole[:2]]


def test_means_are_those_of_whole_batches():
    class Mean(Small):
        def run(self, feeds, *, divisible=False):
            count, total, _ = super().run(feeds, divisible=divisible)
            return [total / count]

    batches = [batch(9), batch(9), batch(4)]
    (whole,), (parts,) = (average(Mean(fits), batches) for fits in (9, 2))
    np.testing.assert_allclose(parts, whole, rtol=1e-6)


@pytest.mark.parametrize(
    ("fits", "divisible", "why"),
    [(0, True, "for a single input"), (8, False, "for 9 inputs at once, as many as it takes")],
)
def test_where_nothing_is_left_to_divide(fits, divisible, why):
    with pytest.raises(OutOfMemoryError, match=f"memory does not suffice {why}"):
        accumulate(Small(fits), [batch(9)], divisible=divisible)


def test_other_errors_pass():
    class Broken(Small):
        def run(self, feeds, *, divisible=False):
            raise ModelError("no")

    with pytest.raises(ModelError, match=r"^no$"):
        accumulate(Broken(1), [batch(2)])


@pytest.fixture
def memory_for(monkeypatch):
    """Let models run on so many inputs at most."""
    unlimited = OrtSession.run

    def limit(fits):
        longest = []

        def limited(self, feeds, *, divisible=False):
            count = max(len(array) for array in feeds.values())
            if count > fits:
                raise OutOfMemoryError("the model does not run: memory does not suffice")
            longest.append(count)
            return unlimited(self, feeds, divisible=divisible)

        monkeypatch.setattr(OrtSession, "run", limited)
        return longest

    return limit


def network(batch="n"):
    return Chain((batch, 3, 8, 8)).conv(8).node("Relu").conv(6).node("Relu").build()


@pytest.mark.parametrize("data", [True, False])
def test_a_model_is_compressed_in_smaller_batches(memory_for, data):
    rng = np.random.default_rng(0)
    given = Dataset("made up", rng.standard_normal((40, 3, 8, 8)).astype(np.float32))
    options = {"method": "moments", "samples": 40, "data": given if data else None}
    options |= {"providers": ("cpu",), "ratio": 0.5, "verify": True}
    whole = nmcore.compress(network(), **options)
    longest = memory_for(7)
    parts = nmcore.compress(network(), **options)
    assert 4 <= max(longest) <= 7
    assert [o.plan.kept for o in parts.outcomes] == [o.plan.kept for o in whole.outcomes]
    (one,), (other,) = (
        run(onnx.load_from_string(result.graph.serialize()), {"input": given.arrays["x"]})
        for result in (parts, whole)
    )
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_a_model_of_fixed_batches_says_so(memory_for):
    memory_for(7)
    with pytest.raises(
        ModelError, match="memory does not suffice for 8 inputs at once, as many as it takes"
    ):
        nmcore.compress(network(batch=8), method="moments", samples=16, providers=("cpu",))


def test_models_are_compared_in_smaller_batches(memory_for):
    rng = np.random.default_rng(0)
    data = Dataset("d", rng.standard_normal((40, 3, 8, 8)).astype(np.float32))
    model = network().SerializeToString()
    session = registry.runtime().session(model, providers=["cpu"])
    longest = memory_for(7)
    found = fidelity(session, session, data)
    assert (found.n, found.deviation) == (40, 0.0)
    assert max(longest) == 5
    memory_for(0)
    with pytest.raises(OutOfMemoryError):
        fidelity(session, session, data)


# One input takes 40 MB in this model, and a batch of 64 of them more than there is.
_IN_LITTLE_MEMORY = """
import resource, sys
import numpy as np
from nmcore.plugins import registry
from nmcore.errors import OutOfMemoryError
from nmcore.data.batches import BatchRunner

def accumulate(session, batches, divisible=True):
    runner = BatchRunner(session, divisible)
    outputs = [outputs for feeds in batches for _, outputs in runner(feeds)]
    return [sum(each) for each in zip(*outputs)]

session = registry.runtime().session(sys.stdin.buffer.read(), providers=["cpu"], threads=1)
x = np.arange(64, dtype=np.float32)[:, None]
session.run({"input": x[:1]})
with open("/proc/self/statm") as file:
    held = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 600 * 2**20,) * 2)
try:
    accumulate(session, [{"input": x}], divisible=False)
except OutOfMemoryError as error:
    assert "memory does not suffice for 64 inputs at once" in str(error), error
else:
    raise SystemExit("all of it fits")
(total,) = accumulate(session, [{"input": x}])
assert total == x.sum(), total
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no limit on memory")
def test_memory_that_really_does_not_suffice():
    row = np.ones((1, 10**7), np.float32)
    model = Chain(("n", 1)).node("MatMul", row).node("ReduceMax", axes=[1]).node("ReduceSum")
    done = subprocess.run(
        [sys.executable, "-c", _IN_LITTLE_MEMORY],
        input=model.build(check=False).SerializeToString(),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")
