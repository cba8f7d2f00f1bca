"""Fewer rows of an embedding table, before any channel goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nmcore.arrays.vocabulary import choose_rows, rebuild_rows, row_errors
from nmcore.calibration.hold_back import hold_back
from nmcore.data.batches import BatchRunner
from nmcore.data.dataset import Dataset
from nmcore.data.feeds import feeder
from nmcore.errors import ArgumentError
from nmcore.evaluation.fidelity import Fidelity, fidelity
from nmcore.evaluation.verification import verify_same
from nmcore.group import FloatArray, IntArray, RowSums
from nmcore.pipeline.job import Job
from nmcore.plugins import capabilities, registry
from nmcore.plugins.capabilities import Lexical, Table
from nmcore.report.vocabulary import Vocabulary
from nmcore.utils.logs import step

# So many inputs are looked through at a time.
_BATCH = 64


def with_vocabulary(job: Job) -> tuple[Job, Vocabulary]:
    """The job on the model with fewer rows in its largest embedding table.

    Raises
    ------
    ArgumentError
        The model has no such table, or one with no more rows than are to be kept; or ids that are
        to be kept are none of it.
    """
    graph, wanted = job.original.graph, job.options.vocabulary
    found = graph.tables() if isinstance(graph, Lexical) else ()
    if not found or not isinstance(graph, Lexical):
        raise ArgumentError("vocabulary: the model has no embedding table whose rows can be merged")
    table = max(found, key=lambda each: each.rows)
    values = graph.table(table.name)
    terms = 1 if table.is_tied else None
    data = None
    if job.data is not None:
        data = job.data.for_model(job.original.session().inputs, table.rows)
    unseen = looked_up = None
    if isinstance(wanted, int):
        _check_size(wanted, table)
        counts = None
        if data is not None:
            with step("looking up which rows the data needs"):
                counts = _counts(graph, table, data, job)
            looked_up = int(np.count_nonzero(counts))
            unseen = _unseen(job, graph, table, values, terms, data)
        with step("choosing the vocabulary"):
            kept = choose_rows(values, wanted, counts)
    else:
        assert wanted is not None
        assert not isinstance(wanted, Path)
        kept = _listed(wanted, table)
    with step("merging the rest of the vocabulary"):
        sums = rebuild_rows(values, kept, terms)
    made = graph.with_rows(table.name, sums)
    opened = registry.open_graph(made, job.options.input_shape)
    if job.options.verify:
        with step("verifying the vocabulary"):
            whole = graph.with_table(table.name, sums.rebuilt(values))
            verify_same(
                opened,
                whole,
                providers=job.options.providers,
                seed=job.options.seed,
                stated=job.options.input_shape,
            )
    gone = np.delete(row_errors(values, sums), kept)
    error = float(gone.mean()) if len(gone) else 0.0
    vocabulary = Vocabulary(table.name, table.rows, len(kept), looked_up, error, unseen)
    smaller = replace(job, original=job.original.with_graph(opened))
    # Once it is known which rows are kept, no data is needed to choose them again.
    return smaller.changed(vocabulary=tuple(kept.tolist())), vocabulary


def read_ids(path: Path) -> tuple[int, ...]:
    """The ids that a text file lists, between white space or commas.

    Raises
    ------
    ArgumentError
        The file cannot be read, or holds something else.
    """
    try:
        words = path.read_text().replace(",", " ").split()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ArgumentError(f"vocabulary {path}: {reason}") from error
    try:
        ids = {int(word) for word in words}
    except ValueError as error:
        bad = next(word for word in words if not word.lstrip("-").isdigit())
        raise ArgumentError(
            f"vocabulary {path}: {bad[:20]!r} is no id; whole numbers are needed"
        ) from error
    return tuple(sorted(ids))


def _listed(ids: Sequence[int], table: Table) -> IntArray:
    kept = np.unique(np.asarray(ids, np.intp))
    if not len(kept) or kept[0] < 0 or kept[-1] >= table.rows:
        raise ArgumentError(
            f"vocabulary: ids from 0 to {table.rows - 1} are needed, as {table.name} has; "
            f"given are {len(kept)}" + (f" from {kept[0]} to {kept[-1]}" if len(kept) else "")
        )
    return kept


def _check_size(size: int, table: Table) -> None:
    if size >= table.rows:
        raise ArgumentError(
            f"vocabulary is {size}; fewer than the {table.rows} rows of {table.name} are needed"
        )


def _counts(graph: Lexical, table: Table, data: Dataset, job: Job) -> IntArray:
    """How often each row of a table is looked up."""
    session = registry.runtime().session(
        graph.lookup_probe(table.name), providers=job.options.providers
    )
    feed = feeder(data, session.inputs)
    runner = BatchRunner(session, divisible=feed.fixed is None)
    counts = np.zeros(table.rows, np.intp)
    for chosen in data.alike(feed.fixed or _BATCH):
        for _, outputs in runner(feed(chosen)):
            for places in outputs:
                counts += np.bincount(places.ravel() % table.rows, minlength=table.rows)
    return counts


def _unseen(
    job: Job, graph: Lexical, table: Table, values: FloatArray, terms: int | None, data: Dataset
) -> Fidelity | None:
    """The fidelity on a part of the data, with a vocabulary that the rest of it chose."""
    assert isinstance(job.options.vocabulary, int)
    fitted, held = hold_back(data, len(data))
    if held is None:
        return None
    with step("trying the vocabulary on inputs that did not choose it"):
        counts = _counts(graph, table, fitted, job)
        sums = _trial(values, job.options.vocabulary, counts, terms)
        after = registry.runtime().session(
            graph.with_table(table.name, sums.rebuilt(values)), providers=job.options.providers
        )
        features = capabilities.gives_features(job.original.graph)
        found = fidelity(job.original.session(), after, held, features=features, asked=job.metrics)
        return replace(found, held=True)


def _trial(values: FloatArray, size: int, counts: IntArray, terms: int | None) -> RowSums:
    return rebuild_rows(values, choose_rows(values, size, counts), terms)
