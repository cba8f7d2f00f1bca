"""``nmcore inspect``: what can be compressed, what is left alone, and what each group can lose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nmcore.cli.logs import quiet_option
from nmcore.cli.options import (
    FILE,
    GatheringCommand,
    all_option,
    input_shape_option,
    json_option,
    labels_option,
    mean_option,
    metric_option,
    preprocess_option,
    providers_option,
    scale_option,
    seed_option,
    std_option,
)
from nmcore.cli.printing import print_declined, print_json

if TYPE_CHECKING:
    from nmcore.report.sensitivity import Sensitivity


@click.command(cls=GatheringCommand)
@click.argument("model", type=FILE)
@click.option(
    "--sensitivity",
    is_flag=True,
    help="Predict the error of cutting each group alone; with --data, measure it too.",
)
@click.option(
    "--states",
    is_flag=True,
    help="With the groups that are states of the model, as compress --states cuts them.",
)
@click.option(
    "--data",
    type=FILE,
    metavar="FILE.npz|DIR",
    help="Inputs x, or an array for each input of the model by its name, with or without classes "
    "y; or a folder of pictures or sound.  [default: synthetic inputs]",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many inputs to use.  [default: at most 256, or 512 synthetic ones]",
)
@scale_option
@mean_option
@std_option
@labels_option
@preprocess_option
@input_shape_option
@metric_option
@providers_option
@seed_option
@all_option
@json_option
@quiet_option
def inspect(
    model: Path,
    sensitivity: bool,
    states: bool,
    as_json: bool,
    everything: bool,
    providers: tuple[str, ...],
    seed: int,
    input_shape: Mapping[str, Sequence[int]] | None,
    **inputs: Any,
) -> None:
    """Show what can be compressed, and what is left alone.

    Groups and their widths, parameters, MACs, and the reason for each part that stays.
    """
    from nmcore.cli import terminal as t
    from nmcore.pipeline.inspect import inspect as inspect_model
    from nmcore.utils.text import printable

    _check_belongs(sensitivity, inputs)
    seen = inspect_model(model, input_shape=input_shape or None, states=states)
    inputs["metric"] = inputs["metric"] or None
    inputs |= {"states": states, "input_shape": input_shape}
    found = None
    if sensitivity:
        found = _sensitivity(model, providers=providers, seed=seed, **inputs)
    if as_json:
        print_json(seen.to_dict() | ({"sensitivity": found.to_dict()} if found else {}))
        return
    out = t.console()
    out.print(seen.headline)
    for line in seen.warnings:
        out.print(printable(line))
    out.print()
    if not seen.groups:
        out.print("no group of channels can be removed")
    elif found is None:
        groups, more = t.listed(seen.groups, everything=everything)
        t.show(out, t.inspected_groups_table(groups))
        for line in more:
            out.print(line)
    else:
        t.show(out, t.sensitivity_table(found))
        out.print()
        for line in t.predicted_on(found):
            out.print(line)
    for line in seen.heads:
        out.print(printable(line))
    print_declined(out, seen.declined)


def _check_belongs(sensitivity: bool, inputs: dict[str, Any]) -> None:
    for name, value in inputs.items():
        if value not in (None, ()) and not sensitivity:
            raise click.UsageError(
                f"--{name} belongs to --sensitivity", click.get_current_context()
            )


def _sensitivity(model: Path, **options: Any) -> Sensitivity:
    from nmcore.cli import terminal as t
    from nmcore.pipeline.sensitivity import sensitivity

    with t.working("measuring") as track:
        return sensitivity(model, progress=track, **options)
