"""Carried values come back as they were, from memory and from files, and go when they are dead."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import nmcore
from chain import Chain
from nmcore.compression import carrier
from nmcore.compression.stream import Stream
from nmcore.errors import OutOfMemoryError
from nmcore.plugins import Carried


def values(seed, batches=3):
    """An array for each batch."""
    return list(np.random.default_rng(seed).standard_normal((batches, 4, 5)).astype(np.float32))


@pytest.mark.parametrize("original", [False, True])
@pytest.mark.parametrize("memory", [0, 100, 10**6])
def test_values_come_back(memory, original):
    stream, cut = Stream(memory, original), [Carried("x", 0)]
    arriving, batches = stream.expect(cut), values(1)
    for array in batches:
        arriving.add([array])
    arriving.done()
    for number, array in enumerate(batches):
        feeds = stream.feeds(number)
        (name,) = [cut[0].original] if original else [cut[0].current]
        assert list(feeds) == [name]
        np.testing.assert_array_equal(feeds[name], array)
    assert stream.held == {0: 0, 100: 80, 10**6: 240}[memory]
    assert stream.start == cut
    assert stream.to([*cut, Carried("y", 2)]) == (cut, [Carried("y", 2)])


def test_what_is_not_live_at_the_next_cut_goes():
    """A batch's as soon as that has been read."""
    stream = Stream()
    arriving = stream.expect([Carried("x", 0)])
    for array in values(2):
        arriving.add([array])
    arriving.done()
    before, arriving = stream.held, stream.expect([Carried("y", 1)])
    stream.feeds(0)
    arriving.add([np.zeros(1, np.float32)])
    assert stream.held == before - values(2)[0].nbytes
    for _ in range(2):
        arriving.add([np.zeros(1, np.float32)])
    arriving.done()
    assert stream.start == [Carried("y", 1)]
    stream.clear()
    assert stream.start == []
    assert stream.feeds(0) == {}


def network():
    chain = Chain(seed=3).conv(8, pads=[1] * 4)
    for width in (8, 8, 6):
        chain.node("Relu").conv(width, pads=[1] * 4)
    return chain.build()


def result(**options):
    x = np.random.default_rng(4).standard_normal((96, 3, 8, 8)).astype(np.float32)
    found = nmcore.compress(network(), ratio=0.5, method="moments", data=x, **options)
    return onnx.load_from_string(found.graph.serialize())


def weights(model):
    return [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]


def test_files_give_the_same_as_memory(monkeypatch):
    expected = result()
    monkeypatch.setattr(carrier, "Stream", lambda _, **form: Stream(memory=0, **form))
    assert result() == expected


def test_too_little_memory_begins_again_in_smaller_batches(monkeypatch):
    """The values that were carried belong to batches that are no more."""
    expected, failed = result(), []
    run = carrier.Stream.feeds

    def greedy(self, batch):
        if self.start and not failed:
            failed.append(batch)
            raise OutOfMemoryError("no memory")
        return run(self, batch)

    monkeypatch.setattr(carrier.Stream, "feeds", greedy)
    found = result()
    assert failed
    for got, want in zip(weights(found), weights(expected), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-3)
