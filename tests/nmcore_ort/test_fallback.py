"""Where CUDA starts and then fails, the CPU goes on, and the user is told once."""

from __future__ import annotations

import numpy as np
import pytest

from chain import Chain
from nmcore.data.batches import BatchRunner
from nmcore.errors import ModelError, OutOfMemoryError
from nmcore.kernels.threads import Workers
from nmcore_ort import kernel, runtime

DEAD = RuntimeError("CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; host=a")


class Summed:
    """A session whose outputs are summed over the inputs."""

    def __init__(self, session):
        self.session = session

    def run(self, feeds, *, divisible=False):
        return [output.sum(0) for output in self.session.run(feeds, divisible=divisible)]


@pytest.fixture
def model():
    return Chain(("n", 3, 4, 4)).conv(5).node("Relu").build().SerializeToString()


@pytest.fixture
def x():
    return {"input": np.random.default_rng(0).standard_normal((4, 3, 4, 4)).astype(np.float32)}


@pytest.fixture
def wanted(model, x):
    return runtime.session(model, providers=["cpu"]).run(x)[0]


def test_what_runs_on_cuda_stays_there(cuda, model, x, wanted, caplog):
    session = runtime.session(model)
    assert np.array_equal(session.run(x)[0], wanted)
    assert (session.provider, cuda.ran, caplog.messages) == ("cuda", [4], [])


def test_a_run_that_fails_is_repeated_on_the_cpu(cuda, model, x, wanted, caplog):
    session = runtime.session(model)
    cuda.failure = DEAD
    for _ in range(3):
        assert np.array_equal(session.run(x)[0], wanted)
    assert (session.provider, cuda.ran) == ("cpu", [4])
    assert caplog.messages == [
        "going on with the CPU: the model failed on CUDA "
        "(CUDA failure 700: an illegal memory access was encountered)"
    ]


def test_it_is_said_once_for_many_sessions(cuda, model, x, caplog):
    cuda.failure = DEAD
    for _ in range(3):
        runtime.session(model).run(x)
    assert len(cuda.ran) == 3
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    ("starts", "why"),
    [
        (False, "does not start on CUDA"),
        (DEAD, "failed on CUDA (CUDA failure 700: an illegal memory access was encountered)"),
        (RuntimeError("std::bad_alloc"), "does not fit into the memory of the CUDA device"),
    ],
)
def test_a_session_that_does_not_start_there(cuda, model, x, wanted, caplog, starts, why):
    cuda.starts = starts
    session = runtime.session(model)
    assert np.array_equal(session.run(x)[0], wanted)
    assert (session.provider, session.notice) == ("cpu", None)
    assert caplog.messages == [f"going on with the CPU: the model {why}"]


def test_memory_that_does_not_suffice(cuda, model, x, wanted, caplog):
    cuda.fits = 3
    session = runtime.session(model)
    with pytest.raises(OutOfMemoryError, match="the model does not run: memory does not suffice"):
        session.run(x, divisible=True)
    assert (session.provider, caplog.messages) == ("cuda", [])
    assert np.array_equal(session.run(x)[0], wanted)
    assert session.provider == "cpu"
    assert caplog.messages == [
        "going on with the CPU: the model does not fit into the memory of the CUDA device"
    ]


@pytest.mark.parametrize(
    ("fits", "ran", "provider"), [(3, [4, 2, 2], "cuda"), (0, [4, 2, 1], "cpu")]
)
def test_batches_are_halved_before_cuda_is_left(cuda, model, x, wanted, fits, ran, provider):
    cuda.fits = fits
    session = runtime.session(model)
    total = sum(outputs[0] for _, outputs in BatchRunner(Summed(session), divisible=True)(x))
    np.testing.assert_allclose(total, wanted.sum(0), rtol=1e-5)
    assert (cuda.ran, session.provider) == (ran, provider)


def test_what_the_cpu_refuses_as_well_is_not_blamed_on_cuda(cuda, model, caplog):
    session = runtime.session(model)
    with pytest.raises(ModelError, match=r"the model does not run: .*[Ii]nvalid"):
        session.run({"input": np.ones((1, 2, 4, 4), np.float32)})
    cuda.failure = DEAD
    with pytest.raises(ModelError, match=r"the model does not run: .*[Ii]nvalid"):
        session.run({"input": np.ones((1, 2, 4, 4), np.float32)})
    with pytest.raises(ModelError, match="does not load in onnxruntime"):
        runtime.session(b"no model")
    assert (session.provider, caplog.messages) == ("cuda", [])


def test_a_file_that_is_gone_by_then(cuda, model, x, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(model)
    session = runtime.session(path)
    path.unlink()
    cuda.failure = DEAD
    with pytest.raises(ModelError, match=r"m\.onnx does not run: .*doesn't exist"):
        session.run(x)


def test_the_kernel_goes_on_with_the_cpu(cuda, caplog):
    rng = np.random.default_rng(0)
    queries, targets = ([rng.standard_normal((n, 8)).astype(np.float32)] for n in (5, 9))
    wanted = kernel.shortlist(queries, targets, None, 0.1, Workers(1))
    cuda.failure = DEAD
    for _ in range(2):
        found = kernel.shortlist(queries, targets, None, 0.1, Workers(1))
        assert np.array_equal(found.column, wanted.column)
    assert len(cuda.ran) == 2
    (line,) = caplog.messages
    assert line.startswith("going on with the CPU: the search for the most similar channels failed")
