"""The kernels side by side, their registry, and the threads they use."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from nmcore import kernels
from nmcore.arrays.scaling import scaling_matrix
from nmcore.errors import ArgumentError
from nmcore.group import BatchNorm
from nmcore.kernels import numba_, numpy_, threads
from nmcore.kernels.bias import FOLDED, Bias
from nmcore.kernels.rows import make_rows, norms
from nmcore.kernels.threads import Workers, thread_count, workers


def unit(rng, *shape):
    rows = rng.standard_normal(shape).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def ort_kernel():
    pytest.importorskip("onnxruntime")
    return pytest.importorskip("nmcore_ort.kernel")


def load(name):
    return {"numba": lambda: numba_, "ort": ort_kernel}[name]()


@pytest.mark.parametrize("name", ["numba", "ort"])
@pytest.mark.parametrize("factors", [1, 2])
@pytest.mark.parametrize("margin", [0.0, 1e-3, 0.3])
@pytest.mark.parametrize("biased", [False, True])
def test_every_kernel_lists_what_numpy_lists(name, factors, margin, biased):
    rng = np.random.default_rng(0)
    queries = [unit(rng, 33, 48) for _ in range(factors)]
    targets = [unit(rng, 21, 48) for _ in range(factors)]
    bias = None
    if biased:
        query, target = rng.uniform(0.5, 2, (33, 2)), rng.uniform(0.5, 2, (2, 21))
        query[5, 0] = np.inf
        target[0, 3] = 0
        bias = Bias(FOLDED, 0.85, query, target)
    expected = numpy_.shortlist(queries, targets, bias, margin, Workers(1))
    found = load(name).shortlist(queries, targets, bias, margin, Workers(2))
    pairs = set(zip(found.row.tolist(), found.column.tolist(), strict=True))
    # A kernel may list more, where its precision asks for it, but only a little more.
    wider = numpy_.shortlist(queries, targets, bias, margin + 1e-5, Workers(1))
    assert pairs >= set(zip(expected.row.tolist(), expected.column.tolist(), strict=True))
    assert pairs <= set(zip(wider.row.tolist(), wider.column.tolist(), strict=True))
    assert (np.lexsort((found.column, found.row)) == np.arange(len(found.row))).all()
    if biased:
        assert 5 not in found.row
        assert 3 not in found.column
        some = np.arange(33) != 5
        np.testing.assert_array_equal(found.low[some], expected.low[some])
        np.testing.assert_array_equal(found.high[some], expected.high[some])


@pytest.mark.parametrize("form", ["linear", "released", "folded", "depthwise"])
def test_the_runtime_kernel_gives_the_same_z(form, monkeypatch):
    module = ort_kernel()
    monkeypatch.setitem(kernels._BUILT_IN, "ort", module.__name__)
    kernels._load.cache_clear()
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((300, 40)).astype(np.float32)
    weight[::5] = weight[1]
    bn = BatchNorm(*rng.standard_normal((3, 300)), rng.uniform(0, 2, 300))
    bn.gamma[[2, 9]] = 0
    options = {
        "linear": {},
        "released": {"batchnorm": bn},
        "folded": {"batchnorm": bn, "bn_form": "folded"},
        "depthwise": {"depthwise": rng.standard_normal((300, 9))},
    }[form]
    kept = np.sort(rng.permutation(300)[:120])
    expected = scaling_matrix(weight, kept, threshold=-1, kernel="numpy", **options)
    found = scaling_matrix(weight, kept, threshold=-1, kernel="ort", **options)
    np.testing.assert_array_equal(found.Z, expected.Z)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("with_bias", [False, True])
def test_unit_rows_agree(dtype, with_bias):
    rng = np.random.default_rng(2)
    weight = rng.standard_normal((20, 3, 7)).astype(dtype)
    weight[4] = 0
    bias = rng.standard_normal(20) * (np.arange(20) != 4) if with_bias else None
    rows, index = make_rows(weight, bias), np.arange(3, 20, 2)
    a, a_norm = numpy_.unit_rows(rows, index, Workers(1))
    b, b_norm = numba_.unit_rows(rows, index, Workers(2))
    np.testing.assert_allclose(a, b, atol=1e-7)
    np.testing.assert_allclose(a_norm, b_norm, rtol=1e-13)
    assert a.shape[1] % 16 == 0
    np.testing.assert_allclose(np.linalg.norm(a, axis=1), np.arange(3, 20, 2) != -1, rtol=1e-6)


@pytest.mark.parametrize("width", [1, 63, 64, 65, 4608, 20_000])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_canonical_numbers_have_the_same_bits_in_every_kernel(width, with_bias, dtype):
    rng = np.random.default_rng(4)
    weight = rng.standard_normal((13, width)).astype(dtype)
    bias = rng.standard_normal(13) if with_bias else None
    n, p = rng.integers(0, 13, (2, 40))
    rows = make_rows(weight, bias)
    a, b = numpy_.compare(rows, n, p, Workers(1)), numba_.compare(rows, n, p, Workers(3))
    for name in ("cosine", "norm_n", "norm_p"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    wide = np.column_stack([weight.astype(np.float64), bias if with_bias else np.zeros(13)])
    np.testing.assert_allclose(a.norm_n, np.linalg.norm(wide[n], axis=1), rtol=1e-14)
    np.testing.assert_array_equal(norms(rows, n, 2, Workers(2)), a.norm_n)


def test_distance_sums_agree():
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((50, 8)), rng.standard_normal((30, 8))
    args = (np.square(a).sum(axis=1), np.square(b).sum(axis=1))
    plain = np.sqrt(np.square(a[:, None] - b[None]).sum(axis=-1))
    for kernel in (numpy_, numba_):
        down, across = kernel.distance_sums(a @ b.T, *args, Workers(2))
        np.testing.assert_allclose(down, plain.sum(axis=1), rtol=1e-12)
        np.testing.assert_allclose(across, plain.sum(axis=0), rtol=1e-12)


def test_auto_takes_the_compiled_kernel_for_large_work_only():
    assert kernels.get_kernel("auto", 1000).NAME == "numpy"
    assert kernels.get_kernel("auto", 1 << 30).NAME == "numba"


class FakeEntry:
    name = "toy"

    def __init__(self, result):
        self.result = result

    def load(self):
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def install(monkeypatch, result):
    entries = [FakeEntry(result)]
    monkeypatch.setattr(
        kernels.metadata,
        "entry_points",
        lambda group, name=None: [e for e in entries if name in (None, e.name)],
    )
    kernels._load.cache_clear()


def test_a_third_party_kernel_is_found_by_its_entry_point(monkeypatch):
    install(monkeypatch, numpy_)
    assert "toy" in kernels.kernel_names()
    weight = np.random.default_rng(0).standard_normal((9, 4))
    expected = scaling_matrix(weight, [0, 1]).Z
    np.testing.assert_array_equal(scaling_matrix(weight, [0, 1], kernel="toy").Z, expected)
    kernels._load.cache_clear()


def test_a_kernel_that_cannot_be_loaded_says_why(monkeypatch):
    install(monkeypatch, ImportError("no module named cupy"))
    with pytest.raises(ArgumentError, match="'toy' cannot be loaded: no module named cupy"):
        kernels.get_kernel("toy", 1)
    kernels._load.cache_clear()


def test_thread_count_follows_argument_then_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("NUMBA_NUM_THREADS", "3")
    assert thread_count() == 1
    assert thread_count(5) == 5
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.delenv("NUMBA_NUM_THREADS")
    assert thread_count() == len(os.sched_getaffinity(0))


def blas_now():
    with workers(1):
        pass  # The libraries are looked up at the first use.
    return [library["num_threads"] for library in threads._limit._blas.info()]


def test_blas_is_held_to_the_same_number_and_set_free_again():
    before = blas_now()
    with workers(2):
        assert {lib["num_threads"] for lib in threads._limit._blas.info()} == {2}
    assert blas_now() == before
    with pytest.raises(RuntimeError), workers(2):
        raise RuntimeError
    assert blas_now() == before


def test_blas_is_set_free_when_the_last_of_several_callers_has_gone():
    before = blas_now()
    one, two = threads.blas_threads(3), threads.blas_threads(2)
    one.__enter__()
    two.__enter__()
    assert {library["num_threads"] for library in threads._limit._blas.info()} == {2}
    one.__exit__(None, None, None)
    assert threads._limit._blas.info()[0]["num_threads"] == 2
    two.__exit__(None, None, None)
    assert blas_now() == before


def test_no_more_threads_than_asked_for():
    seen = set()

    def note(start, stop):
        seen.add(threading.get_ident())

    with workers(1) as pool:
        pool.each(note, 100, 1)
    assert seen == {threading.get_ident()}
    seen.clear()
    with workers(2) as pool:
        pool.each(note, 1000, 1)
    assert len(seen) <= 2


def test_an_error_in_a_worker_is_raised():
    def fail(start, stop):
        raise ZeroDivisionError

    with workers(2) as pool, pytest.raises(ZeroDivisionError):
        pool.each(fail, 10, 1)


def test_several_callers_at_once():
    rng = np.random.default_rng(5)
    weight = rng.standard_normal((200, 30)).astype(np.float32)
    expected = scaling_matrix(weight, np.arange(80)).Z
    with ThreadPoolExecutor(4) as callers:
        results = callers.map(
            lambda _: scaling_matrix(weight, np.arange(80), kernel="numba", threads=2).Z, range(12)
        )
        for result in results:
            np.testing.assert_array_equal(result, expected)


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    ).stdout


def test_numba_is_imported_only_when_used():
    code = (
        "import sys, numpy as np, nmcore\n"
        "nmcore.select(np.eye(4), 2); nmcore.scaling_matrix(np.eye(4), [0, 1])\n"
        "nmcore.compress, nmcore.sensitivity, nmcore.absorb\n"
        "print([m for m in ('numba', 'onnx', 'onnxruntime', 'nmcore_ort') if m in sys.modules])"
    )
    assert run(code).strip() == "[]"
