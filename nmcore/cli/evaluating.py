"""``nmcore evaluate``: models side by side on the same inputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from nmcore.cli.logs import quiet_option
from nmcore.cli.options import (
    FILE,
    GatheringCommand,
    NumbersOption,
    json_option,
    providers_option,
    runs_option,
    threads_option,
)
from nmcore.cli.printing import plain, print_json


@click.command(cls=GatheringCommand)
@click.argument("models", metavar="MODEL...", type=FILE, nargs=-1, required=True)
@click.option("--data", type=FILE, required=True, metavar="FILE.npz", help="x and optionally y.")
@click.option("--samples", type=click.IntRange(min=1), metavar="N", help="Use the first N inputs.")
@click.option("--scale", type=float, metavar="S", help="Inputs are (x / S - mean) / std.")
@click.option("--mean", cls=NumbersOption, help="One number, or one a channel.")
@click.option("--std", cls=NumbersOption, help="One number, or one a channel.")
@providers_option
@threads_option
@runs_option
@json_option
@quiet_option
def evaluate(
    models: Sequence[Path],
    data: Path,
    samples: int | None,
    scale: float | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    providers: tuple[str, ...],
    threads: int | None,
    runs: int | None,
    as_json: bool,
) -> None:
    """Compare models on the same inputs.

    Accuracy where the data holds classes, agreement with the first model, latency and size.
    """
    from nmcore.cli import terminal as t
    from nmcore.data import load
    from nmcore.evaluate import evaluate as evaluate_models

    with t.working("timing") as track:
        results = evaluate_models(
            models,
            load(data, samples=samples, scale=scale, mean=mean, std=std),
            providers=providers,
            threads=threads or 0,
            runs=runs,
            progress=track,
            notify=t.notify,
        )
    if as_json:
        print_json([plain(result) for result in results])
        return
    out = t.console()
    t.show(out, t.evaluation_table(out, results))
    out.print()
    for line in t.evaluation_notes(results):
        out.print(line)
