"""Cells and groups on a real dask.distributed cluster of two processes, one of which is killed."""

from __future__ import annotations

import json
import os
import signal

import onnx
import pytest
from click.testing import CliRunner

import nmcore
from chain import Chain
from nmcore.cli import cli
from nmcore.utils import executors
from small import small_network

distributed = pytest.importorskip(
    "distributed", reason="dask.distributed is not installed: pip install '.[dask]'"
)

GRID = {"methods": ("prune", "merge"), "ratios": [k / 20 for k in range(1, 16)]}


@pytest.fixture(scope="module")
def address():
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(small_network().build(), path)
    return path


def test_a_killed_worker_loses_nothing_and_nothing_comes_twice(model, address, tmp_path):
    results, out = tmp_path / "results.json", tmp_path / "out"
    out.mkdir()
    killed = []

    with executors.cluster(address) as executor, distributed.Client(address) as client:

        def killing(_text, cells):
            """Kill a worker that is at a cell, when some are done and most are not."""
            for number, cell in enumerate(cells):
                if number == 4:
                    busy = next(worker for worker, tasks in client.processing().items() if tasks)
                    killed.append(client.run(os.getpid, workers=[busy])[busy])
                    os.kill(killed[0], signal.SIGKILL)
                yield cell

        records = nmcore.sweep(
            model, results=results, out_dir=out, executor=executor, progress=killing, **GRID
        )
        client.wait_for_workers(2, timeout=30)
        assert killed[0] not in client.run(os.getpid).values()

    assert records == nmcore.sweep(model, **GRID)
    assert all(record.error is None for record in records)
    written = [each["cell"] for each in json.loads(results.read_text())]
    assert sorted(written) == sorted(record.cell for record in records)
    assert len(set(written)) == len(written) == 30
    for record in records:
        (path,) = out.glob(f"*-{record.cell[:8]}.onnx")
        assert path.stat().st_size == record.bytes
    assert len(list(out.glob("[!.]*"))) == 30


def test_groups_are_solved_on_a_cluster(address):
    chain = Chain(("n", 6))
    for _ in range(4):
        chain = chain.gemm(12).node("Relu")
    model = chain.gemm(3).build()
    with executors.cluster(address) as executor:
        for method in ("prune", "merge", "ridge"):
            there = nmcore.compress(model, method=method, executor=executor)
            here = nmcore.compress(model, method=method)
            assert there.graph.serialize() == here.graph.serialize()


def test_the_command_runs_there(model, address, tmp_path):
    words = ["sweep", model, "--results", tmp_path / "r.json", "--method", "merge", "--json"]
    there, here = (
        CliRunner().invoke(cli, [str(word) for word in (*words, *more)], prog_name="nmcore")
        for more in (["--dask", address], ["--results", tmp_path / "other.json"])
    )
    assert (there.exit_code, here.exit_code) == (0, 0)
    assert json.loads(there.stdout) == json.loads(here.stdout)
