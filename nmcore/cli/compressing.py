"""``nmcore compress``: the smaller model, and the account of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nmcore.cli.logs import quiet_option
from nmcore.cli.options import (
    FILE,
    CountOrAuto,
    LateChoice,
    PatternCount,
    SectionedCommand,
    all_option,
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
    threads_option,
)
from nmcore.cli.printing import print_declined, print_json
from nmcore.cli.targets import check_out, check_targets
from nmcore.options.amounts import BUDGETS

if TYPE_CHECKING:
    from nmcore.report.report import Report


def methods() -> Sequence[str]:
    """Return the names that ``--method`` takes."""
    from nmcore.options.methods import METHODS

    return ("auto", *METHODS)


def criteria() -> Sequence[str]:
    """Return the names that ``--criterion`` takes."""
    from nmcore.arrays.criteria import CRITERIA

    return ("auto", *CRITERIA)


def conversions() -> Sequence[str]:
    """Return the names that ``--then`` takes."""
    from nmcore.options.methods import THEN

    return THEN


def _bn_forms() -> Sequence[str]:
    from nmcore.arrays.scaling import BN_FORMS

    return ("auto", *BN_FORMS)


def budget_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command an option for every budget."""
    for name, text in reversed([*BUDGETS.items()]):
        command = click.option(f"--{name}", type=float, metavar="F", help=text)(command)
    return command


# The options in sections; each heading ends in an example.
SECTIONS = {
    "How much goes (--macs 0.6)": (
        *("macs", "params", "latency", "max_drop", "ratio", "vocabulary", "round_to"),
    ),
    "Which channels (--exclude 'head*')": ("only", "exclude", "keep", "states", "plan"),
    "Inputs to measure on (--data images/ --preprocess imagenet)": (
        *(
            "data",
            "labels",
            "samples",
            "preprocess",
            "scale",
            "mean",
            "std",
            "input_shape",
            "metric",
        ),
        "tries",
    ),
    "Result (--report page.html)": (
        *("then", "reports", "plan_path", "verify", "external_data", "overwrite", "dry_run"),
        *("everything", "as_json", "quiet", "help"),
    ),
    "Machine (--providers cpu --threads 2)": ("providers", "threads", "seed"),
    "Research (--method merge --threshold 0.45)": (
        *("method", "criterion", "threshold", "lam", "bn_form"),
    ),
}


@click.command(cls=SectionedCommand, sections=SECTIONS)
@click.argument("source", metavar="IN", type=FILE)
@click.argument("target", metavar="OUT", type=FILE, required=False)
@click.option(
    "--ratio",
    type=float,
    metavar="R",
    help="Share of channels removed in every group, from 0 to below 1.  "
    "[default: 0.5, or 0 where --keep or --vocabulary is given]",
)
@budget_options
@click.option(
    "--max-drop",
    type=float,
    metavar="D",
    help="Remove as much as costs at most D percentage points of accuracy, or of agreement with "
    "IN where --data has no labels; or of what --metric tells, or suits the form of the outputs. "
    "Tries six compressions; part of --data is kept to judge on.",
)
@click.option(
    "--round-to",
    type=CountOrAuto(),
    metavar="K|auto",
    help="Keep a multiple of K channels, as runtimes are slow on odd widths; auto times 1, 4, 8 "
    "and 16.  [default: 1; with --macs or --params 16, 8 or 4, the coarsest that adds little to "
    "the predicted error; with --latency auto]",
)
@click.option(
    "--keep",
    type=PatternCount(),
    multiple=True,
    metavar="PATTERN=K",
    help="Keep K channels in groups whose names, or else nodes, weights or PyTorch modules, "
    "match; the last match counts.",
)
@only_option
@exclude_option
@click.option(
    "--vocabulary",
    metavar="K|FILE",
    help="Keep K rows of the largest embedding table, those that --data looks up first, or those "
    "whose ids a text file lists; the others are made of them, and ids stay what they are. Without "
    "another amount nothing else is removed.",
)
@click.option(
    "--states",
    is_flag=True,
    help="Cut recurrent layers, too, whose states are inputs and outputs of the model, and heads "
    "whose keys and values of the past are. These then have other shapes, which the report tells.",
)
@click.option(
    "--plan",
    type=FILE,
    metavar="FILE.json",
    help="Keep the channels that a file names, instead of all the options above: a saved plan, "
    "or one from elsewhere.",
)
@click.option(
    "--method", type=LateChoice(methods), default="auto", help="How removed channels are rebuilt."
)
@click.option(
    "--criterion", type=LateChoice(criteria), default="auto", help="Which channels are kept."
)
@click.option("--threshold", type=float, metavar="T", help="Merge only where the cosine reaches T.")
@click.option(
    "--lam",
    type=float,
    metavar="L",
    help="Weight of the cosine against the bias distance.  [default: as published]",
)
@click.option(
    "--bn-form",
    type=LateChoice(_bn_forms),
    default="auto",
    help="How a batch norm enters the similarity.",
)
@click.option(
    "--data",
    type=FILE,
    metavar="FILE.npz|DIR",
    help="Unlabelled inputs to measure activations and compare results on: x, or an array for each "
    "input of the model by its name; or a folder of pictures or sound.  [default: synthetic "
    "inputs]",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many inputs to measure on. Crops supplement photographs up to 256.  "
    "[default: 256, or 256 to 2048 synthetic ones]",
)
@click.option(
    "--tries",
    type=click.IntRange(min=1),
    metavar="N",
    help="Without --data: compress with N seeds, from --seed on, take what is nearest to IN on "
    "other synthetic inputs, and tell how alike the results are.  [default: 1]",
)
@scale_option
@mean_option
@std_option
@labels_option
@preprocess_option
@input_shape_option
@metric_option
@click.option(
    "--then",
    type=LateChoice(conversions),
    help="Write weights in these numbers in the end, by the runtime's own converter: int8 with "
    "ranges measured on --data for networks of convolutions, with those of each input for others. "
    "Tells what each step costs.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="Prove in the runtime that cutting the channels out changed nothing else.",
)
@click.option(
    "--save-plan",
    "plan_path",
    type=FILE,
    metavar="FILE.json",
    help="Write which channels are kept and how, to edit or to repeat with --plan.",
)
@click.option(
    "--save-as-external-data",
    "external_data",
    is_flag=True,
    default=None,
    help="Write large weights into a file beside OUT.  [default: only what exceeds 2 GB]",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Let the result take the place of IN.",
)
@click.option("--dry-run", is_flag=True, help="Do everything but write OUT, which may be left out.")
@click.option(
    "--report",
    "reports",
    type=FILE,
    multiple=True,
    metavar="FILE.html|FILE.json",
    help="Write the account as a page or as data; repeat it for both.",
)
@providers_option
@threads_option
@seed_option
@all_option
@json_option
@quiet_option
@click.pass_obj
def compress(
    command: str,
    /,
    source: Path,
    target: Path | None,
    overwrite: bool,
    dry_run: bool,
    external_data: bool | None,
    plan_path: Path | None,
    reports: tuple[Path, ...],
    providers: tuple[str, ...],
    keep: tuple[tuple[str, int], ...],
    as_json: bool,
    everything: bool,
    **options: Any,
) -> None:
    """Remove channels and merge what they did.

    The model IN becomes the smaller OUT, which is written only after it was checked and has
    loaded in the runtime.
    """
    if target is None and not dry_run:
        raise click.MissingParameter(
            ctx=click.get_current_context(), param_type="argument", param_hint="'OUT'"
        )
    from nmcore.cli import terminal as t
    from nmcore.pipeline.compress import compress as compress_model
    from nmcore.pipeline.measuring import drafted, measured
    from nmcore.pipeline.result import report_of
    from nmcore.plugins.registry import check_file
    from nmcore.report.writers import save
    from nmcore.utils.logs import step

    read = {"IN": source, "the data": options["data"], "the plan": options["plan"]}
    if options["vocabulary"] is not None and not options["vocabulary"].isdigit():
        read["the vocabulary"] = Path(options["vocabulary"])
    check_file(source)
    check_targets(read, target, reports, plan_path)
    if dry_run:
        target = None
    if target is not None:
        check_out(source, target, overwrite=overwrite)
    # What is not given is left to the library, where the defaults live.
    given = {name: value for name, value in options.items() if value not in (None, ())}
    if keep:
        given["keep"] = dict(keep)
    with t.working("compressing") as track:
        result = compress_model(source, providers=providers, progress=track, **given)
    with drafted(result, target, external_data) as draft:
        found = measured(result, draft, profiled=bool(reports), working=t.working, notify=t.notify)
        if target is not None:
            with step(f"writing {target}"):
                draft.publish(keep=result.original.data_files if result.original else ())
    report = report_of(result, command=command, **found)
    for path in reports:
        save(report, path)
    if plan_path is not None:
        result.plan.save(plan_path)
    if as_json:
        print_json(report.to_dict())
    elif t.speaks():
        _print_report(report, source, target, everything=everything)
    for line in report.warnings:
        t.warn(line)


def _print_report(report: Report, source: Path, target: Path | None, *, everything: bool) -> None:
    from nmcore.cli import terminal as t
    from nmcore.utils.text import printable

    out = t.console()
    name = "no model was written, as --dry-run asks" if target is None else printable(str(target))
    out.print(f"{printable(str(source))} -> {name}")
    out.print()
    t.show(out, t.cost_table(report))
    out.print()
    if report.groups:
        groups, more = t.listed(report.groups, everything=everything)
        t.show(out, t.groups_table(groups))
        for line in (*more, *t.shared_reasons(report.groups, t.name_in_text)):
            out.print(line)
    if report.groups or report.vocabulary:
        for line in map(printable, report.notes):
            out.print(line)
    print_declined(out, report.declined)
    out.print()
    for line in t.closing_lines(report):
        out.print(line)
    if report.fidelity is not None:
        for line in t.what_figures_mean(report.fidelity):
            out.print(printable(line))
    out.print()
    for line in t.outcome(report):
        out.print(printable(line))
