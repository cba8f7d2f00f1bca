"""``nmcore evaluate``: models side by side on the same inputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from nmcore.cli.logs import quiet_option
from nmcore.cli.options import (
    FILE,
    GatheringCommand,
    input_shape_option,
    json_option,
    labels_option,
    mean_option,
    metric_option,
    preprocess_option,
    providers_option,
    runs_option,
    scale_option,
    std_option,
    threads_option,
)
from nmcore.cli.printing import print_json


@click.command(cls=GatheringCommand)
@click.argument("models", metavar="MODEL...", type=FILE, nargs=-1, required=True)
@click.option(
    "--data",
    type=FILE,
    metavar="FILE.npz|DIR",
    help="x, or an array for each input of the model by its name; optionally classes y; or a "
    "folder of pictures or sound, whose subfolders are classes.  [default: synthetic inputs]",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    metavar="N",
    help="Use the first N inputs.  [default: all, or 64 synthetic ones]",
)
@scale_option
@mean_option
@std_option
@labels_option
@preprocess_option
@input_shape_option
@providers_option
@threads_option
@runs_option
@metric_option
@json_option
@quiet_option
def evaluate(
    models: Sequence[Path],
    threads: int | None,
    metric: Sequence[str],
    as_json: bool,
    **options: Any,
) -> None:
    """Compare models on the same inputs.

    Accuracy where the data holds classes, agreement with the first model, latency and size; of
    models that give something else, how much of the first model's boxes, strings, masks, pictures
    or vectors is left. Without data the same on synthetic inputs.
    """
    from nmcore.cli import terminal as t
    from nmcore.evaluation.evaluate import evaluate as evaluate_models
    from nmcore.utils.text import printable

    with t.working("timing") as track:
        results = evaluate_models(
            models,
            threads=threads or 0,
            metric=metric or None,
            progress=track,
            notify=t.notify,
            **options,
        )
    if as_json:
        print_json([result.to_dict() | {"warnings": [*t.cautions(result)]} for result in results])
        return
    out = t.console()
    t.show(out, t.evaluation_table(out, results))
    out.print()
    for line in t.evaluation_notes(results):
        out.print(line)
    for result in results:
        for line in result.lost:
            # Part of what was asked for, which --quiet does not hide.
            out.print(printable(f"warning: {result.model} is probably of no use: {line}"))
