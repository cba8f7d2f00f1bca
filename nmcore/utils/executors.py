"""Where independent work is done: here, in processes of this machine, or on a cluster.

All are :class:`concurrent.futures.Executor`, so whatever takes one takes any other as well. Nothing
here imports NumPy: a new process learns its share of the processors first.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from nmcore.errors import ArgumentError

T = TypeVar("T")

# What NumPy's BLAS, Numba and nmcore ask how many threads to start.
_VARIABLES = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
# Seconds that a scheduler has to answer.
_PATIENCE = 10
# Seconds that a pool has to drop what was cancelled.
_MOMENT = 0.3


class InTurn(Executor):
    """Does each call here, at once.

    >>> InTurn().submit(max, 1, 2).result()
    2
    """

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call the function; what it raises, this does."""
        future: Future[T] = Future()
        future.set_result(function(*args, **kwargs))
        return future


def submit(executor: Executor, function: Callable[..., T], *args: Any) -> Future[T]:
    """Hand a call over to an executor.

    Raises
    ------
    ArgumentError
        It takes none, as after it was shut down.
    """
    try:
        return executor.submit(function, *args)
    except BrokenExecutor:
        raise
    except RuntimeError as error:
        if isinstance(executor, InTurn):  # what the function itself has raised
            raise
        raise ArgumentError(f"the executor takes no work: {error}") from error


@contextmanager
def processes(jobs: int) -> Iterator[Executor]:
    """Give new processes, among which the processors that this one may use are divided.

    They are ended at once where the block ends in an exception, Ctrl-C included, and end by
    themselves where this process is killed.

    Parameters
    ----------
    jobs : int
        How many, at least 1.
    """
    # A forked process would inherit the threads' locks, but not the threads, of onnxruntime.
    context = multiprocessing.get_context("spawn")
    shares = context.SimpleQueue()
    for share in _shares(_processors(), jobs):
        shares.put(share)
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, context, _begin, (shares,))
    with _deaf_to_interrupts():
        for _ in range(jobs):  # each starts a process, as none has anything done yet
            pool.submit(int)
    try:
        yield pool
    except BaseException:
        _let_go(pool)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    pool.shutdown()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Let processes that are started meanwhile ignore Ctrl-C; this one gets it afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _let_go(pool: Executor) -> None:
    """Wait until a pool has dropped what was cancelled.

    If its processes ended before, its thread would print a traceback: it tells the callers of what
    it still has, and that fails for what they have cancelled (Python 3.11).
    """
    with suppress(BrokenExecutor):
        last = pool.submit(int)
        pool.shutdown(wait=False, cancel_futures=True)
        end = time.monotonic() + _MOMENT
        while not last.done() and time.monotonic() < end:
            time.sleep(0.01)


def _processors() -> list[int]:
    """The numbers of the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _shares(processors: list[int], jobs: int) -> list[list[int]]:
    """Divide processors; where there are too few, some are shared.

    >>> _shares([0, 1, 2, 3, 4], 2), _shares([0, 1], 3)
    ([[0, 2, 4], [1, 3]], [[0], [1], [0]])
    """
    return [processors[k::jobs] or [processors[k % len(processors)]] for k in range(jobs)]


def _begin(shares: Any) -> None:
    """Begin a process: take a share of the processors, and leave Ctrl-C to the parent.

    What libraries log about details of graphs is dropped, as the command line does.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger().addHandler(logging.NullHandler())
    share = shares.get()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, share)
    for name in _VARIABLES:
        os.environ.setdefault(name, str(len(share)))
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A pool's processes would wait for ever for a parent that was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextmanager
def cluster(address: str) -> Iterator[Executor]:
    """Give the workers of a dask.distributed cluster.

    Parameters
    ----------
    address : str
        Of its scheduler, as in ``"tcp://10.0.0.1:8786"``.

    Raises
    ------
    nmcore.errors.ArgumentError
        dask.distributed is not installed, or no scheduler answers.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ArgumentError(
            "dask.distributed is not installed; pip install 'nmcore[dask]' brings it"
        ) from error
    try:
        client = Client(address, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ArgumentError(f"no dask scheduler answers at {address}: {error}") from error
    with client:
        yield client.get_executor()
