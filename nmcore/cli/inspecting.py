"""``nmcore inspect``: what can be compressed, what is left alone, and what each group can lose."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nmcore.cli.logs import quiet_option
from nmcore.cli.options import (
    FILE,
    GatheringCommand,
    all_option,
    json_option,
    mean_option,
    metric_option,
    preprocess_option,
    providers_option,
    scale_option,
    seed_option,
    std_option,
)
from nmcore.cli.printing import plain, print_declined, print_json

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
    "y; or a folder of pictures.  [default: synthetic inputs]",
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
@preprocess_option
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
    **inputs: Any,
) -> None:
    """Show what can be compressed, and what is left alone.

    Groups and their widths, parameters, MACs, and the reason for each part that stays.
    """
    from nmcore.cli import terminal as t
    from nmcore.plugins import registry
    from nmcore.plugins.states import Stateful
    from nmcore.report.phrases import cost_notes
    from nmcore.utils.text import printable

    _check_belongs(sensitivity, inputs)
    graph = registry.open_graph(model)
    if states and isinstance(graph, Stateful):
        graph = graph.with_states()
    cost = graph.cost()
    inputs["metric"] = inputs["metric"] or None
    found = None
    if sensitivity:
        found = _sensitivity(model, providers=providers, seed=seed, states=states, **inputs)
    if as_json:
        print_json(
            {
                "model": str(model),
                "nodes": cost.nodes,
                "params": cost.params,
                "macs": cost.macs,
                "assumed": cost.assumed,
                "uncounted": cost.uncounted,
                "warnings": [*cost_notes(cost)],
                "groups": [plain(group) for group in graph.groups],
                "declined": [plain(place) for place in graph.declined],
            }
            | ({"sensitivity": found.as_dict()} if found else {})
        )
        return
    out = t.console()
    out.print(
        f"{printable(str(model))}: {t.number(cost.nodes)} nodes, "
        f"{t.number(cost.params)} parameters, {t.number(cost.macs)} MACs"
    )
    for line in cost_notes(cost):
        out.print(printable(line))
    out.print()
    if not graph.groups:
        out.print("no group of channels can be removed")
    elif found is None:
        groups, more = t.listed(graph.groups, everything=everything)
        t.show(out, t.inspected_groups_table(groups))
        for line in more:
            out.print(line)
    else:
        t.show(out, t.sensitivity_table(found))
        out.print()
        for line in t.predicted_on(found):
            out.print(line)
    print_declined(out, graph.declined)


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
