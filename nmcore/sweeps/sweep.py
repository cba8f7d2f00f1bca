"""Many compressions: models by methods by sizes, each once, here or on other machines."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, as_completed
from contextlib import closing
from dataclasses import fields
from itertools import product
from pathlib import Path
from typing import Any

from nmcore._version import __version__
from nmcore.calibration.collect import REAL_SAMPLES
from nmcore.errors import ArgumentError, DataError
from nmcore.evaluation.metrics.registry import MetricLike, metrics_of
from nmcore.options import checks
from nmcore.options.amounts import AMOUNTS
from nmcore.options.methods import RECONSTRUCTION
from nmcore.options.options import CompressOptions
from nmcore.plan import fingerprint
from nmcore.plan.selection import Selection
from nmcore.plugins import registry
from nmcore.sweeps.cell import Cell, on_one_line, run
from nmcore.sweeps.records import Record, records_in
from nmcore.utils.executors import submit
from nmcore.utils.progress import Progress, silent

# Those that look at data; the others are not shown it.
_MEASURING = ("auto", RECONSTRUCTION)
# What of the options is not the same for all cells, or depends on what else the machine does.
_APART = ("method", *AMOUNTS, "threads", "labels")
_DEFAULTS = {each.name: each.default for each in fields(CompressOptions) if each.name not in _APART}


def sweep(
    models: registry.ModelLike | Sequence[registry.ModelLike],
    *,
    methods: Sequence[str] = ("auto",),
    ratios: Sequence[float] = (),
    macs: Sequence[float] = (),
    params: Sequence[float] = (),
    data: str | Path | None = None,
    evaluate_data: str | Path | None = None,
    labels: str | Path | None = None,
    results: str | Path | None = None,
    out_dir: str | Path | None = None,
    retry_failed: bool = False,
    metric: MetricLike | Sequence[MetricLike] | None = None,
    executor: Executor | None = None,
    progress: Progress = silent,
    **options: Any,
) -> list[Record]:
    """Compress models by several methods to several sizes; what is known already is not redone.

    A cell is one model, one method and one size. It is known by the digests of the files, all
    options, and the version of nmcore: where any of these differs, it is another cell.

    Parameters
    ----------
    models : path, bytes or object, or sequence of these
        Model files, their content, or objects that an installed backend understands.
    methods : sequence of str
        Of :attr:`nmcore.options.options.MethodOptions.method`.
    ratios, macs, params : sequence of float
        Sizes, as in :func:`nmcore.compress`, each of which makes a cell; a ratio of 0.5 without
        any.
    data : path, optional
        Unlabelled inputs for the methods that measure, ``auto`` and ``moments``. Prune, merge,
        ridge and nmf look at weights alone.
    evaluate_data : path, optional
        A file or folder, as for :func:`nmcore.evaluate`, on which every result is compared with its
        original: accuracy where it has classes, agreement, deviation. Latencies are not measured,
        since cells may run side by side.
    labels : path, optional
        A CSV of ``file,label`` for ``evaluate_data`` that is a folder, as for
        :func:`nmcore.evaluate`.
    results : path, optional
        A JSON file of records. Each is added when its cell is done, and the file is whole at any
        moment, so that the same call goes on after any kind of stop. Records of other sweeps may
        stand in it, too.
    out_dir : path, optional
        A folder for the compressed models. A cell whose model is not there is run again.
    retry_failed : bool
        Run cells again that failed; otherwise their errors are records like others.
    metric : str, callable, or sequence of these, optional
        What is told of every result, as for :func:`nmcore.compress`; by default what suits the form
        of the outputs. A function is known by its name alone: call it differently where it changes.
        Those for an ``executor`` of processes must be found there by import.
    executor : concurrent.futures.Executor, optional
        Runs cells side by side: processes, threads, or ``client.get_executor()`` of
        dask.distributed; without one they run here, one after the other. Its workers read the files
        by the same paths and write the models of ``out_dir``; records are written by this process
        alone. Floating-point sums depend on the number of threads, which is for who makes the
        executor to divide.
    progress : callable
        Wraps the iteration over cells, as in ``progress("sweeping", cells)``.
    **options
        Others of :func:`nmcore.compress`, the same for every cell: ``criterion``, ``scale``,
        ``mean``, ``std``, ``preprocess``, ``samples``, ``round_to``, ``keep``, ``only``,
        ``exclude``, ``seed``, ``providers``, ...

    Returns
    -------
    list of Record
        One a cell, models first, then methods, then sizes.

    Raises
    ------
    nmcore.errors.NmcoreError
        A file, a method or an option cannot be used, the results are not to be written or written
        by another sweep, or a process of the executor died. A cell that fails raises nothing; its
        record has an ``error``.

    Examples
    --------
    >>> import nmcore
    >>> model = "examples/fashion_mnist/lenet5.onnx"
    >>> for record in nmcore.sweep(model, methods=["prune", "merge"], ratios=[0.3, 0.5]):
    ...     print(record.method, record.share, record.params)
    prune 0.3 41625
    prune 0.5 21836
    merge 0.3 41625
    merge 0.5 21836
    """
    unknown = [name for name in options if name not in _DEFAULTS]
    if unknown:
        raise TypeError(f"sweep() got an unexpected keyword argument {unknown[0]!r}")
    options = checks.checked(options)
    checks.checked({"executor": executor})
    if options.get("round_to") == "auto":
        raise ArgumentError("a sweep takes no times, so round-to must be a whole number")
    registry.runtime().check(options.get("providers", ("auto",)))
    sizes = _sizes(ratio=ratios, macs=macs, params=params)
    methods = [checks.checked({"method": method})["method"] for method in methods]
    metrics = metrics_of(metric)
    if metrics and evaluate_data is None:
        raise ArgumentError("metric tells of results on evaluate-data, which is missing")
    grid = _Grid(data, (evaluate_data, labels), out_dir, options, _listed(metric))
    given = registry.models_in(models)
    cells = list(
        {
            cell.digest: cell
            for model, name in zip(given, registry.names_of(given), strict=True)
            for cell in grid.cells(model, name, product(methods, sizes))
        }.values()
    )
    with records_in(None if results is None else Path(results)) as records:

        def is_done(cell: Cell) -> bool:
            known = records.get(cell.digest)
            if known is None or known.error is not None:
                return known is not None and not retry_failed
            return cell.target is None or cell.target.is_file()

        missing = [cell for cell in cells if not is_done(cell)]
        with closing(_run_all(missing, executor)) as done:
            for _, record in zip(progress("sweeping", missing), done, strict=True):
                records.add(record)
        return [records[cell.digest] for cell in cells]


class _Grid:
    """Makes cells that differ in model, method and size."""

    def __init__(
        self,
        data: str | Path | None,
        judged: tuple[str | Path | None, str | Path | None],
        out_dir: str | Path | None,
        options: Mapping[str, Any],
        metric: Sequence[MetricLike] = (),
    ) -> None:
        self.metric = metric
        self.data = _existing("data", data)
        self.evaluate_data = _existing("evaluate-data", judged[0])
        self.labels = _existing("labels", judged[1])
        if self.labels and not (self.evaluate_data and self.evaluate_data.is_dir()):
            raise DataError("labels are of the files in a folder, and evaluate-data is none")
        self.folder = _existing("out-dir", out_dir)
        if self.folder is not None and not self.folder.is_dir():
            raise ArgumentError(f"out-dir {out_dir} is no folder")
        self._selection = Selection(
            keep=options.get("keep"),
            only=options.get("only", ()),
            exclude=options.get("exclude", ()),
        )
        # What is stated though it is the default makes no other cell.
        self.options = {
            name: checks.plain(value)
            for name, value in sorted(options.items())
            if checks.plain(value) != checks.plain(_DEFAULTS[name])
        }
        if "keep" in self.options:  # A mapping, of which the last match counts.
            self.options["keep"] = [list(pair) for pair in self.options["keep"].items()]
        samples = options.get("samples") or REAL_SAMPLES
        self.data_sha256 = self.evaluate_sha256 = None
        if self.data is not None:
            self.data_sha256 = fingerprint.of_path(self.data, samples).sha256
        if self.evaluate_data is not None:
            self.evaluate_sha256 = fingerprint.of_labelled(self.evaluate_data, self.labels).sha256

    def cells(
        self,
        model: registry.ModelLike,
        name: str,
        chosen: Iterable[tuple[str, tuple[str, float]]],
    ) -> Iterator[Cell]:
        """Yield the cells of one model."""
        graph = registry.open_graph(model, self.options.get("input_shape"))
        self._selection.counts(graph.groups, graph.declined)  # refused before anything is measured
        if isinstance(model, Path):
            model, name = model.absolute(), model.name
        elif not isinstance(model, bytes):  # Workers may be other processes.
            model = graph.serialize()
        sha256 = fingerprint.of_model(model, graph).sha256
        for method, (budget, share) in chosen:
            measures = method in _MEASURING
            key: dict[str, Any] = {
                "model_sha256": sha256,
                "data_sha256": self.data_sha256 if measures else None,
                "evaluate_sha256": self.evaluate_sha256,
                "method": method,
                "budget": budget,
                "share": share,
                "options": self.options,
                "nmcore": __version__,
            }
            if self.metric:
                key["metric"] = [*metrics_of(self.metric)]
            data = self.data if measures else None
            where = self.evaluate_data, self.labels, self.folder
            yield Cell(model, key, data, *where, metric=self.metric, name=name)


def _sizes(**given: Sequence[float]) -> list[tuple[str, float]]:
    """What says how much to remove, and how much."""
    sizes = [
        (name, checks.checked({name: share})[name])
        for name, shares in given.items()
        for share in shares
    ]
    return sizes or [("ratio", 0.5)]


def _listed(metric: MetricLike | Sequence[MetricLike] | None) -> Sequence[MetricLike]:
    """One metric, or several, as several."""
    if metric is None or isinstance(metric, (list, tuple)):
        return tuple(metric or ())
    return (metric,)  # type: ignore[return-value]


def _existing(what: str, path: str | Path | None) -> Path | None:
    """A path by which other processes find the same file."""
    if path is None:
        return None
    if not Path(path).exists():
        raise DataError(f"{what} {path} does not exist")
    return Path(path).absolute()


def _run_all(cells: Sequence[Cell], executor: Executor | None) -> Generator[Record, None, None]:
    """Yield the record of every cell, in the order in which they get done."""
    if executor is None:
        yield from map(run, cells)
        return
    running = {}
    done = 0
    try:
        for cell in cells:
            running[submit(executor, run, cell)] = cell
        for future in as_completed(running):
            yield _outcome(running[future], future)
            done += 1
    except (BrokenExecutor, CancelledError) as error:
        raise ArgumentError(
            f"what ran the cells broke down (was a process killed, for its memory?); {done} of "
            f"{len(cells)} got done, and the same call goes on with the others: {error}"
        ) from error
    except BaseException:
        for future in running:
            future.cancel()
        raise


def _outcome(cell: Cell, future: Future[Record]) -> Record:
    """What a worker found, or why it could not: nmcore is not there, or it died of this cell."""
    try:
        return future.result()
    except (BrokenExecutor, CancelledError):
        raise
    except Exception as error:
        return cell.record(error=on_one_line(error))
