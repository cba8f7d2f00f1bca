"""What came of the cells of a sweep, in a file from which a stopped sweep goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nmcore.errors import ArgumentError
from nmcore.utils.files import atomic_write
from nmcore.utils.locks import locked


@dataclass(frozen=True)
class Record:
    """One cell of a sweep, and what came of it.

    Attributes
    ----------
    cell : str
        The digest of ``key``: there is one record a cell.
    model : str
        The model's file, without its folder.
    method : str
        As asked for.
    budget : {"ratio", "macs", "params"}
        What says how much is removed.
    share : float
        How much: of the channels of each group to remove, or of the whole model's cost to keep.
    key : mapping
        All that the figures depend on: digests of the files, method, budget, share, the other
        options, the version of nmcore.
    error : str or None
        Why there are no figures, in one line.
    traceback : str or None
        Where it happened, if the error is a bug.
    params_before, macs_before, bytes_before, params, macs, bytes : int or None
        Parameters, multiply-accumulates of one sample (None where unknown) and file size of the
        original and of the result.
    n : int or None
        How many inputs were evaluated on.
    top1_before, top1, agreement, deviation : float or None
        In percent, as in :class:`nmcore.evaluation.evaluate.Evaluation`.
    metrics : mapping of str to float or None
        The figures that were asked for, by name, else those that suit the form of the outputs; see
        :data:`nmcore.evaluation.metrics.registry.METRICS`.
    metrics_before : mapping of str to float
        Of these, those of the model as it is that do not compare with it.
    told, lost : sequence of str
        As in :class:`nmcore.evaluation.fidelity.Fidelity`.
    """

    cell: str
    model: str
    method: str
    budget: str
    share: float
    key: Mapping[str, Any]
    error: str | None = None
    traceback: str | None = None
    params_before: int | None = None
    params: int | None = None
    macs_before: int | None = None
    macs: int | None = None
    bytes_before: int | None = None
    bytes: int | None = None
    n: int | None = None
    top1_before: float | None = None
    top1: float | None = None
    agreement: float | None = None
    deviation: float | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    metrics_before: Mapping[str, float] = field(default_factory=dict)
    told: Sequence[str] = field(default_factory=list)
    lost: Sequence[str] = field(default_factory=list)


class Records:
    """Records by cell, written to ``path`` whenever one is added; kept in memory without one."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        known = _read(path) if path is not None and path.exists() else []
        self._known = {record.cell: record for record, _ in known}
        # Only the new one is put into words each time.
        self._lines = {record.cell: line for record, line in known}

    def __getitem__(self, cell: str) -> Record:
        return self._known[cell]

    def get(self, cell: str) -> Record | None:
        """Return what is known of a cell."""
        return self._known.get(cell)

    def add(self, record: Record) -> None:
        """Keep a record in place of any earlier one of the same cell; the file is always whole."""
        self._known[record.cell] = record
        self._lines[record.cell] = _line(record)
        if self._path is not None:
            atomic_write(self._path, ("[\n" + ",\n".join(self._lines.values()) + "\n]\n").encode())


def _line(record: Record) -> str:
    return json.dumps(asdict(record), allow_nan=False)


@contextmanager
def records_in(path: Path | None) -> Iterator[Records]:
    """Open a file of records, for this process alone, or some in memory.

    Raises
    ------
    nmcore.errors.ArgumentError
        The file holds something else, cannot be written, or another sweep writes it.
    """
    if path is None:
        yield Records()
        return
    with locked(path):
        yield Records(path)


def _read(path: Path) -> list[tuple[Record, str]]:
    """The records of a file, and each in words."""
    something_else = ArgumentError(
        f"{path} holds no records of a sweep; delete it or name another file"
    )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, list):
            raise something_else
        records = [Record(**each) for each in found]
        if not all(isinstance(record.cell, str) for record in records):
            raise something_else
        return [(record, _line(record)) for record in records]
    except OSError as error:
        raise ArgumentError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise something_else from error
