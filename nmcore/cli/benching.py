"""``nmcore bench``: how fast kernels and models are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nmcore.cli.logs import quiet_option
from nmcore.cli.options import (
    FILE,
    json_option,
    providers_option,
    runs_option,
    seed_option,
    threads_option,
)
from nmcore.cli.printing import plain, print_json

if TYPE_CHECKING:
    from nmcore.evaluation.latency import Latency
    from nmcore.plugins.protocols import Session


@click.group()
def bench() -> None:
    """Measure how fast kernels or models are."""


@bench.command("kernels")
@click.option("--size", multiple=True, metavar="NxD,P", help="N rows of length D, P kept.")
@click.option("--kernel", multiple=True, metavar="NAME", help="Time these kernels alone.")
@click.option("--peer", multiple=True, metavar="NAME", help="Time these baselines alone.")
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    default=5,
    metavar="N",
    help="Timed runs of each.  [default: 5]",
)
@click.option("--no-memory", is_flag=True, help="Do not measure peak memory.")
@threads_option
@seed_option
@json_option
@quiet_option
def bench_kernels(
    size: Sequence[str],
    kernel: Sequence[str],
    peer: Sequence[str],
    repeats: int,
    no_memory: bool,
    threads: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Time the search for the most similar channels.

    Every kernel, a product with NumPy and a double loop take turns on the same weights.
    benchmarks/kernels/run.py of a checkout adds other libraries.
    """
    from nmcore import bench as benchmark
    from nmcore.cli import terminal as t

    result = benchmark.run_kernels(
        size or benchmark.SIZES,
        peer or None,
        repeats,
        seed,
        threads,
        kernels=kernel or None,
        memory=not no_memory,
        progress=t.notify,
    )
    if as_json:
        print_json(result)
        return
    out = t.console()
    for grid in benchmark.tables(result):
        t.show(out, grid)
        out.print()
    for line in benchmark.legend(result):
        out.print(line)


@bench.command("latency")
@click.argument("models", metavar="MODEL...", type=FILE, nargs=-1, required=True)
@providers_option
@threads_option
@runs_option
@seed_option
@json_option
@quiet_option
def bench_latency(
    models: Sequence[Path],
    providers: tuple[str, ...],
    threads: int | None,
    runs: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Time models on random inputs.

    They run in turn, so that noise hits all alike.
    """
    from nmcore.cli import terminal as t
    from nmcore.evaluation.latency import time_sessions
    from nmcore.plugins import registry

    runtime = registry.runtime()
    runtime.check(providers)
    sessions = [
        runtime.session(model, providers=providers, threads=threads or 0) for model in models
    ]
    with t.working("timing"):
        times = time_sessions(sessions, runs=runs, seed=seed)
    if sessions[0].notice:
        t.notify(sessions[0].notice)
    if as_json:
        print_json(_latency_rows(models, sessions, times))
        return
    out = t.console()
    t.show(out, t.latency_table([str(model) for model in models], times))
    out.print()
    out.print(t.where(sessions[0].provider, sessions[0].threads))


def _latency_rows(
    models: Sequence[Path], sessions: Sequence[Session], times: Sequence[Latency]
) -> list[dict[str, Any]]:
    return [
        {"model": str(model), "provider": session.provider, "threads": session.threads}
        | plain(time)
        for model, session, time in zip(models, sessions, times, strict=True)
    ]
