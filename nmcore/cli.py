"""The command line: ``nmcore inspect | compress | evaluate | bench``.

Each command reads its options, calls the library and prints; it decides nothing itself. What
costs time to import is imported inside the command that needs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nmcore import __version__
from nmcore.options import (
    GatheringCommand,
    LateChoice,
    NumbersOption,
    PatternCount,
    Program,
    printable,
)

if TYPE_CHECKING:
    from nmcore.evaluate import Fidelity
    from nmcore.latency import Latency
    from nmcore.pipeline import Result
    from nmcore.plugins import Session
    from nmcore.report import Report

FILE = click.Path(path_type=Path)
# A report compares the results of both models on so many inputs of the data at most.
FIDELITY_SAMPLES = 1_000


def _methods() -> Sequence[str]:
    from nmcore.scaling import METHODS

    return ("auto", *METHODS)


def _criteria() -> Sequence[str]:
    from nmcore.criteria import CRITERIA

    return ("auto", *CRITERIA)


def _bn_forms() -> Sequence[str]:
    from nmcore.scaling import BN_FORMS

    return ("auto", *BN_FORMS)


def _split_providers(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",") if name.strip())


providers_option = click.option(
    "--providers",
    default="auto",
    metavar="NAMES",
    callback=_split_providers,
    help="Where models run, in order of preference: auto, cuda, cpu, or cuda,cpu.  [default: auto]",
)
seed_option = click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="For whatever is random.  [default: 0]",
)
threads_option = click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="Threads that one operator may use on the CPU.  [default: all]",
)
runs_option = click.option(
    "--runs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Timed runs of each model.  [default: 50, or more of fast models]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nmcore", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Log what is going on to stderr.")
def cli(debug: bool) -> None:
    """Make an exported ONNX model smaller and faster without training.

    Whole channels are removed, and what they did is merged into the next layer.
    """
    _log(debug)


def _log(everything: bool) -> None:
    import logging

    # Libraries log warnings about details of graphs, which Python prints unless told otherwise.
    handler = logging.StreamHandler() if everything else logging.NullHandler()
    logging.basicConfig(format="%(name)s: %(message)s", handlers=[handler])
    for name in ("nmcore", "nmcore_onnx", "nmcore_ort"):
        logging.getLogger(name).setLevel(logging.DEBUG if everything else logging.WARNING)


@cli.command()
@click.argument("model", type=FILE)
@json_option
def inspect(model: Path, as_json: bool) -> None:
    """Show what can be compressed, and what is left alone.

    Groups and their widths, parameters, MACs, and the reason for each part that stays.
    """
    from nmcore import plugins

    graph = plugins.open_graph(model)
    cost = graph.cost()
    if as_json:
        _print_json(
            {
                "model": str(model),
                "nodes": cost.nodes,
                "params": cost.params,
                "macs": cost.macs,
                "groups": [_plain(group) for group in graph.groups],
                "declined": [_plain(place) for place in graph.declined],
            }
        )
        return
    from nmcore import terminal as t

    out = t.console()
    out.print(
        f"{printable(str(model))}: {t.number(cost.nodes)} nodes, "
        f"{t.number(cost.params)} parameters, {t.number(cost.macs)} MACs"
    )
    out.print()
    if graph.groups:
        t.show(out, t.inspected_groups_table(graph.groups))
    else:
        out.print("no group of channels can be removed")
    _print_declined(out, graph.declined)


@cli.command(cls=GatheringCommand)
@click.argument("source", metavar="IN", type=FILE)
@click.argument("target", metavar="OUT", type=FILE, required=False)
@click.option(
    "--ratio",
    type=float,
    metavar="R",
    help="Share of channels removed in every group, from 0 to below 1.  "
    "[default: 0.5, or 0 where --keep is given]",
)
@click.option(
    "--macs",
    type=float,
    metavar="F",
    help="Keep at most this share of the whole model's multiply-accumulates; groups lose "
    "different shares.",
)
@click.option("--params", type=float, metavar="F", help="The same for parameters.")
@click.option(
    "--round-to",
    type=click.IntRange(min=1),
    metavar="K",
    help="Keep a multiple of K channels; runtimes are slow on odd widths.  [default: 1]",
)
@click.option(
    "--keep",
    type=PatternCount(),
    multiple=True,
    metavar="PATTERN=K",
    help="Keep K channels in the groups whose names match; the last match counts.",
)
@click.option(
    "--only", multiple=True, metavar="PATTERN", help="Touch only groups with a node that matches."
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="PATTERN",
    help="Leave groups alone with a node that matches.",
)
@click.option(
    "--plan",
    type=FILE,
    metavar="FILE.json",
    help="Keep the channels that a file names, instead of all the options above: a saved plan, "
    "or one from elsewhere.",
)
@click.option(
    "--method", type=LateChoice(_methods), default="auto", help="How removed channels are rebuilt."
)
@click.option(
    "--criterion", type=LateChoice(_criteria), default="auto", help="Which channels are kept."
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
    help="Unlabelled inputs x, or a folder of pictures, to measure activations on.  "
    "[default: synthetic inputs]",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many inputs to measure on.  [default: 256, or 512 synthetic ones]",
)
@click.option("--scale", type=float, metavar="S", help="Inputs are (x / S - mean) / std.")
@click.option("--mean", cls=NumbersOption, help="One number, or one a channel.")
@click.option("--std", cls=NumbersOption, help="One number, or one a channel.")
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
@seed_option
@click.pass_obj
def compress(
    command: str,
    /,
    source: Path,
    target: Path | None,
    dry_run: bool,
    plan_path: Path | None,
    reports: tuple[Path, ...],
    providers: tuple[str, ...],
    keep: tuple[tuple[str, int], ...],
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
    from nmcore import terminal as t
    from nmcore.pipeline import compress as compress_model
    from nmcore.report import Measures, Report

    _check_targets(source, target, reports, plan_path)
    if dry_run:
        target = None
    # What is not given is left to the library, where the defaults live.
    given = {name: value for name, value in options.items() if value is not None}
    if keep:
        given["keep"] = dict(keep)
    result = compress_model(source, providers=providers, progress=t.track, **given)
    sessions = _load_both(source, result, providers)
    before, after = _time_both(sessions, result.seed)
    size = source.stat().st_size  # Before OUT is written, which may be the same file.
    written = len(result.graph.serialize())
    if target is not None:
        result.save(target)
    report = Report.of(
        result,
        before=Measures.of(result.before, size, before),
        after=Measures.of(result.after, written, after),
        command=command,
        seed=result.seed,
        provider=sessions[0].provider,
        threads=sessions[0].threads,
        verified=options["verify"],
        fidelity=_fidelity(sessions, result, options) if reports else None,
    )
    for path in reports:
        report.save(path)
    if plan_path is not None:
        result.plan.save(plan_path)
    _print_report(report, source, target)


def _check_targets(
    source: Path, target: Path | None, reports: Sequence[Path], plan_path: Path | None
) -> None:
    from nmcore.files import check_writable
    from nmcore.report import check_format

    for path in reports:
        check_format(path)
    if plan_path is not None:
        _check_json(plan_path)
    files = [("the report", path) for path in reports]
    files += [("the plan", plan_path)] if plan_path else []
    written = [("OUT", target), *files] if target else files
    for _, path in written:
        check_writable(path)
    # OUT may replace IN; nothing else may.
    _check_apart([("IN", source), *files])
    _check_apart(written)


def _check_json(path: Path) -> None:
    from nmcore.errors import ArgumentError

    if path.suffix.lower() != ".json":
        raise ArgumentError(f"plan {path}: its name must end in .json")


def _check_apart(paths: Sequence[tuple[str, Path]]) -> None:
    from nmcore.errors import ArgumentError

    seen: dict[Path, str] = {}
    for what, path in paths:
        if path.resolve() in seen:
            raise ArgumentError(f"{seen[path.resolve()]} and {what} are the same file, {path}")
        seen[path.resolve()] = what


def _load_both(source: Path, result: Result, providers: Sequence[str]) -> list[Session]:
    from nmcore import plugins
    from nmcore import terminal as t
    from nmcore.errors import ModelError, VerificationError

    runtime = plugins.runtime()
    before = runtime.session(source, providers=providers)
    if before.notice:
        t.notify(before.notice)
    try:
        return [before, runtime.session(result.graph.serialize(), providers=providers)]
    except ModelError as error:
        raise VerificationError(f"the original loads, but the result does not: {error}") from error


def _time_both(sessions: Sequence[Session], seed: int) -> Sequence[Latency | None]:
    from nmcore import terminal as t
    from nmcore.data import runnable_inputs
    from nmcore.errors import DataError, ModelError, VerificationError
    from nmcore.latency import time_sessions

    before, after = sessions
    try:
        feeds = runnable_inputs(before, seed=seed)
    except (ModelError, DataError) as error:
        t.notify(f"no latency: {error}")
        return None, None
    try:
        after.run(feeds)
    except ModelError as error:
        raise VerificationError(f"the original runs, but the result does not: {error}") from error
    return time_sessions(sessions, seed=seed)


def _fidelity(
    sessions: Sequence[Session], result: Result, options: Mapping[str, Any]
) -> Fidelity | None:
    from nmcore import terminal as t
    from nmcore.data import load
    from nmcore.errors import DataError, ModelError
    from nmcore.evaluate import fidelity

    path = options["data"]
    if path is None or path.is_dir():
        return None
    # A plan that is replayed says how its data is to be read.
    stated = result.plan.options or options
    form = {name: stated[name] for name in ("scale", "mean", "std")}
    before, after = sessions
    try:
        return fidelity(before, after, load(path, samples=FIDELITY_SAMPLES, **form), t.track)
    except (ModelError, DataError) as error:
        t.notify(f"the results are not compared: {error}")
        return None


@cli.command(cls=GatheringCommand)
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
    from nmcore import terminal as t
    from nmcore.data import load
    from nmcore.evaluate import evaluate as evaluate_models

    results = evaluate_models(
        models,
        load(data, samples=samples, scale=scale, mean=mean, std=std),
        providers=providers,
        threads=threads or 0,
        runs=runs,
        progress=t.track,
        notify=t.notify,
    )
    if as_json:
        _print_json([_plain(result) for result in results])
        return
    out = t.console()
    t.show(out, t.evaluation_table(results))
    out.print()
    for line in t.evaluation_notes(results):
        out.print(line)


@cli.group()
def bench() -> None:
    """Measure how fast kernels or models are."""


@bench.command("kernels")
@click.option("--size", multiple=True, metavar="NxD,P", help="N rows of length D, P kept.")
@click.option("--kernel", multiple=True, metavar="NAME", help="Time these kernels alone.")
@click.option("--peer", multiple=True, metavar="NAME", help="Time these libraries alone.")
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

    Every kernel, and every library that is installed, takes turns on the same weights.
    """
    from nmcore import bench as benchmark
    from nmcore import terminal as t

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
        _print_json(result)
        return
    out = t.console()
    for grid in benchmark.tables(result):
        t.show(out, grid)
        out.print()
    out.print(f"{result['machine']['processor']}, {result['machine']['threads']} threads")


@bench.command("latency")
@click.argument("models", metavar="MODEL...", type=FILE, nargs=-1, required=True)
@providers_option
@threads_option
@runs_option
@seed_option
@json_option
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
    from nmcore import plugins
    from nmcore import terminal as t
    from nmcore.latency import time_sessions

    runtime = plugins.runtime()
    sessions = [
        runtime.session(model, providers=providers, threads=threads or 0) for model in models
    ]
    times = time_sessions(sessions, runs=runs, seed=seed)
    if sessions[0].notice:
        t.notify(sessions[0].notice)
    if as_json:
        _print_json(_latency_rows(models, sessions, times))
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
        | _plain(time)
        for model, session, time in zip(models, sessions, times, strict=True)
    ]


def _print_report(report: Report, source: Path, target: Path | None) -> None:
    from nmcore import terminal as t

    out = t.console()
    name = "no model was written, as --dry-run asks" if target is None else printable(str(target))
    out.print(f"{printable(str(source))} -> {name}")
    out.print()
    t.show(out, t.cost_table(report))
    out.print()
    if report.groups:
        t.show(out, t.groups_table(report.groups))
        for line in (*t.shared_reason(report.groups), *report.notes):
            out.print(printable(line))
    _print_declined(out, report.declined)
    out.print()
    for line in t.closing_lines(report):
        out.print(line)


def _print_declined(out: Any, declined: Sequence[Any]) -> None:
    from nmcore import terminal as t

    if declined:
        out.print()
    for line in t.declined_lines(declined):
        out.print(printable(line))


def _print_json(data: Any) -> None:
    from nmcore.report import dumps

    click.echo(dumps(data))


def _plain(record: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(record)


def main() -> None:
    """Run the command line; the installed program ``nmcore`` starts here."""
    cli(prog_name="nmcore")
