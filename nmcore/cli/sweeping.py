"""``nmcore sweep``: many compressions, each once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nmcore.cli.compressing import criteria, methods
from nmcore.cli.logs import quiet_option
from nmcore.cli.options import (
    FILE,
    GatheringCommand,
    LateChoice,
    NumbersOption,
    exclude_option,
    input_shape_option,
    json_option,
    labels_option,
    mean_option,
    metric_option,
    only_option,
    preprocess_option,
    providers_option,
    scale_option,
    seed_option,
    std_option,
)
from nmcore.cli.printing import plain, print_json

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from nmcore.sweeps.records import Record

# A bug in nmcore, which is told by its traceback.
BUG = 1


@click.command(cls=GatheringCommand)
@click.argument("models", metavar="MODEL...", type=FILE, nargs=-1, required=True)
@click.option(
    "--results",
    type=FILE,
    required=True,
    metavar="FILE.json",
    help="Keep a record of each cell here, and go on from those that stand here.",
)
@click.option(
    "--method",
    "methods",
    type=LateChoice(methods),
    multiple=True,
    help="How removed channels are rebuilt; repeat it for several.  [default: auto]",
)
@click.option(
    "--ratio",
    "ratios",
    cls=NumbersOption,
    help="Shares of channels removed in every group.  [default: 0.5]",
)
@click.option(
    "--macs", cls=NumbersOption, help="Shares of the model's multiply-accumulates to keep."
)
@click.option("--params", cls=NumbersOption, help="The same for parameters.")
@click.option(
    "--criterion", type=LateChoice(criteria), default="auto", help="Which channels are kept."
)
@click.option("--round-to", type=click.IntRange(min=1), metavar="K", help="Keep a multiple of K.")
@only_option
@exclude_option
@click.option(
    "--states",
    is_flag=True,
    default=None,
    help="Cut states of the models, too, as compress --states does.",
)
@click.option(
    "--data",
    type=FILE,
    metavar="FILE.npz|DIR",
    help="Unlabelled inputs for the methods auto and moments, as for compress.  "
    "[default: synthetic inputs]",
)
@click.option(
    "--samples", type=click.IntRange(min=1), metavar="N", help="How many inputs to measure on."
)
@scale_option
@mean_option
@std_option
@labels_option
@preprocess_option
@input_shape_option
@metric_option
@click.option(
    "--evaluate-data",
    type=FILE,
    metavar="FILE.npz|DIR",
    help="Compare every result with its original on these inputs, and on their classes if there "
    "are any.",
)
@click.option("--out-dir", type=FILE, metavar="DIR", help="Write the models into this folder.")
@click.option("--retry-failed", is_flag=True, help="Run cells again that failed.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    help="Cells at a time, each in a process with its share of the processors.  [default: 1]",
)
@click.option(
    "--dask",
    metavar="ADDRESS",
    help="Run the cells on a dask.distributed cluster, whose scheduler has this address.",
)
@providers_option
@seed_option
@json_option
@quiet_option
def sweep(
    models: Sequence[Path], jobs: int, dask: str | None, as_json: bool, **options: Any
) -> None:
    """Compress models by several methods to several sizes.

    Every combination is a cell, which is run once: after any kind of stop, the same command goes
    on with the cells that are missing.
    """
    from nmcore.cli import terminal as t
    from nmcore.sweeps.sweep import sweep as sweep_models

    # What is not given is left to the library, where the defaults live.
    given = {name: value for name, value in options.items() if value not in (None, ())}
    with _executor(jobs, dask) as executor, t.working("sweeping") as track:
        records = sweep_models(models, executor=executor, progress=track, **given)
    if as_json:
        print_json([plain(record) for record in records])
    else:
        _print_records(records)
    _end_with_failures(records)


def _executor(jobs: int, dask: str | None) -> AbstractContextManager[Executor | None]:
    from nmcore.errors import ArgumentError
    from nmcore.utils import executors

    if dask is not None and jobs > 1:
        raise ArgumentError("jobs and dask were given; the cluster says how many workers it has")
    if dask is not None:
        return executors.cluster(dask)
    return executors.processes(jobs) if jobs > 1 else nullcontext()


def _print_records(records: Sequence[Record]) -> None:
    from nmcore.cli import terminal as t
    from nmcore.utils.text import printable

    out = t.console()
    t.show(out, t.records_table(records))
    failed = [record for record in records if record.error is not None]
    if failed:
        out.print()
    for record in failed:
        where = f"{record.model}, {record.method}, {record.budget} {record.share:g}"
        out.print(printable(f"{where}: {record.error}"))


def _end_with_failures(records: Sequence[Record]) -> None:
    """Exit as the program does where one command fails; what got done stays."""
    from nmcore.errors import NmcoreError

    failed = [record for record in records if record.error is not None]
    traces = dict.fromkeys(record.traceback for record in failed if record.traceback)
    for trace in traces:
        print(trace, file=sys.stderr)
    if traces:
        sys.exit(BUG)
    if failed:
        raise NmcoreError(
            f"{len(failed)} of {len(records)} cells failed; --retry-failed runs them again"
        )
