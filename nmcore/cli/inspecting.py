"""``nmcore inspect``: what can be compressed, and what is left alone."""

from __future__ import annotations

from pathlib import Path

import click

from nmcore.cli.logs import quiet_option
from nmcore.cli.options import FILE, json_option
from nmcore.cli.printing import plain, print_declined, print_json


@click.command()
@click.argument("model", type=FILE)
@json_option
@quiet_option
def inspect(model: Path, as_json: bool) -> None:
    """Show what can be compressed, and what is left alone.

    Groups and their widths, parameters, MACs, and the reason for each part that stays.
    """
    from nmcore import plugins

    graph = plugins.open_graph(model)
    cost = graph.cost()
    if as_json:
        print_json(
            {
                "model": str(model),
                "nodes": cost.nodes,
                "params": cost.params,
                "macs": cost.macs,
                "assumed": cost.assumed,
                "uncounted": cost.uncounted,
                "groups": [plain(group) for group in graph.groups],
                "declined": [plain(place) for place in graph.declined],
            }
        )
        return
    from nmcore.cli import terminal as t
    from nmcore.wording import cost_notes, printable

    out = t.console()
    out.print(
        f"{printable(str(model))}: {t.number(cost.nodes)} nodes, "
        f"{t.number(cost.params)} parameters, {t.number(cost.macs)} MACs"
    )
    for line in cost_notes(cost):
        out.print(printable(line))
    out.print()
    if graph.groups:
        t.show(out, t.inspected_groups_table(graph.groups))
    else:
        out.print("no group of channels can be removed")
    print_declined(out, graph.declined)
