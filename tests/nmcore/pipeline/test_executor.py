"""Groups that are solved by an executor: the same result to the bit, a bounded number at a time."""

from __future__ import annotations

from concurrent.futures import Executor, Future, ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import nmcore
from chain import Chain
from nmcore.compression import merging
from nmcore.errors import ArgumentError, ModelError
from nmcore.plugins import registry
from nmcore.utils import executors
from random_graphs import generate

METHODS = ("prune", "merge", "ridge")


class Lazy(Executor):
    """Does nothing before its result is asked for, and counts what waits."""

    def __init__(self) -> None:
        self.waiting = self.most = self.calls = 0

    def submit(self, function, /, *args, **kwargs):
        executor = self
        self.waiting += 1
        self.calls += 1
        self.most = max(self.most, self.waiting)

        class Asked(Future):
            def result(self, timeout=None):
                executor.waiting -= 1
                return function(*args, **kwargs)

        return Asked()


def deep(layers: int = 12) -> onnx.ModelProto:
    """A chain of fully connected layers, whose groups are independent."""
    chain = Chain(("n", 6))
    for _ in range(layers):
        chain = chain.gemm(10).node("Relu")
    return chain.gemm(3).build()


def compressed(model, executor=None, method="merge") -> tuple[bytes, object]:
    result = nmcore.compress(model, ratio=0.5, method=method, executor=executor)
    return result.graph.serialize(), result.plan


@pytest.mark.parametrize("method", METHODS)
def test_threads_give_the_same(method):
    model = deep()
    with ThreadPoolExecutor(2) as executor:
        assert compressed(model, executor, method) == compressed(model, None, method)


def test_processes_give_the_same():
    with executors.processes(2) as executor:
        for method in METHODS:
            assert compressed(deep(5), executor, method) == compressed(deep(5), None, method)


# Random graphs of which some groups touch others, and some do not.
@pytest.mark.parametrize("seed", [8, 10, 18, 19, 22, 29])
def test_groups_that_touch_wait_for_each_other(seed):
    """Nothing is done before it must be, so what is read too early has not changed yet."""
    model = generate(seed).model
    groups = registry.open_graph(model).groups
    touching = {merging._touches(a, b) for k, b in enumerate(groups) for a in groups[:k]}
    assert touching == {True, False}
    assert compressed(model, Lazy()) == compressed(model)


def test_a_bounded_number_waits():
    executor = Lazy()
    compressed(deep(12), executor)
    assert executor.calls == 12
    assert executor.most == merging.PENDING < 12


def test_without_an_executor_one_group_is_held_at_a_time(monkeypatch):
    events = []
    solve, write = merging.merged, merging._write
    monkeypatch.setattr(merging, "merged", lambda *a: events.append("solve") or solve(*a))
    monkeypatch.setattr(merging, "_write", lambda *a: events.append("write") or write(*a))
    compressed(deep(4))
    assert events == ["solve", "write"] * 4


def test_the_default_takes_one_too():
    """The walk does not use it; the merged model that it is compared with does."""
    model = Chain().conv(8).node("Relu").conv(8).node("Relu").conv(4).build()
    options = {"ratio": 0.5, "samples": 8, "providers": ("cpu",)}
    executor = Lazy()
    result = nmcore.compress(model, executor=executor, **options)
    assert result.graph.serialize() == nmcore.compress(model, **options).graph.serialize()
    assert executor.calls == 2


def test_an_error_comes_through_and_leaves_nothing_waiting():
    model = deep(12)
    weight = next(t for t in model.graph.initializer if numpy_helper.to_array(t).ndim == 2)
    broken = np.full_like(numpy_helper.to_array(weight), np.nan)
    weight.CopyFrom(numpy_helper.from_array(broken, weight.name))
    futures = []

    class Keeping(ThreadPoolExecutor):
        def submit(self, *args, **kwargs):
            futures.append(super().submit(*args, **kwargs))
            return futures[-1]

    with Keeping(1) as executor, pytest.raises(ModelError, match="NaN"):
        compressed(model, executor)
    assert all(future.done() for future in futures)


def test_how_it_was_computed_is_no_part_of_the_call():
    with ThreadPoolExecutor(1) as executor:
        result = nmcore.compress(deep(2), ratio=0.5, method="prune", executor=executor)
        again = nmcore.compress(deep(2), plan=result.plan, executor=executor)
    assert "executor" not in result.plan.call
    assert again.graph.serialize() == result.graph.serialize()


def test_an_executor_that_was_shut_down(tmp_path):
    with ThreadPoolExecutor(1) as executor:
        pass
    said = "the executor takes no work: cannot schedule new futures after shutdown"
    with pytest.raises(ArgumentError, match=said):
        compressed(deep(2), executor)
    path = tmp_path / "m.onnx"
    onnx.save(deep(2), path)
    with pytest.raises(ArgumentError, match=said):
        nmcore.sweep(path, ratios=[0.5], methods=["prune"], executor=executor)


def test_what_a_call_raises_is_not_taken_for_it(monkeypatch):
    def broken(*_arguments):
        raise RuntimeError("a bug")

    monkeypatch.setattr(merging, "merged", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        compressed(deep(2))
    with ThreadPoolExecutor(1) as executor, pytest.raises(RuntimeError, match="a bug"):
        compressed(deep(2), executor)
