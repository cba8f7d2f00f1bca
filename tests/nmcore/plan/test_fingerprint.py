"""What recognises a model, read in another thread."""

from __future__ import annotations

import threading
from hashlib import sha256

import pytest

from nmcore.errors import ArgumentError
from nmcore.plan import fingerprint
from nmcore.plugins import registry
from small import small_network


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(small_network().build().SerializeToString())
    return path


def test_a_file_is_read_in_the_background_and_gives_the_same(path):
    graph = registry.open_graph(path)
    source = fingerprint.in_background(path, graph)()
    assert source == fingerprint.of_model(path, graph)
    assert (source.file, source.sha256) == ("model.onnx", sha256(path.read_bytes()).hexdigest())


def test_an_object_is_taken_as_it_is_when_asked():
    model = small_network().build()
    graph = registry.open_graph(model)
    wait = fingerprint.in_background(model, graph)
    before = fingerprint.of_model(model, graph)
    assert wait() == before


def test_what_goes_wrong_is_raised_where_it_is_waited_for(path, monkeypatch):
    """And not in the thread, where nobody would hear it."""
    unheard = []
    monkeypatch.setattr(threading, "excepthook", unheard.append)
    graph = registry.open_graph(path)
    path.unlink()
    wait = fingerprint.in_background(path, graph)
    with pytest.raises(ArgumentError, match=r"model\.onnx can no longer be read: No such file"):
        wait()
    assert not unheard
