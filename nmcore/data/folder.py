"""Files of one kind in a folder, and the classes that subfolders or a table say they are of."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nmcore.data.dataset import Dataset
from nmcore.data.normalisation import Normalisation
from nmcore.errors import DataError
from nmcore.plugins.inputs import InputSpec
from nmcore.utils.logs import mention
from nmcore.utils.spread import spread
from nmcore.utils.text import counted

# The longest name of a class that is a number.
_DIGITS = 9
# So many classes are told with their numbers.
_TOLD = 4
# The table of classes that a folder may hold.
TABLE = "labels.csv"
_HEADER = ["file", "label"]


@dataclass(frozen=True, eq=False)
class Folder:
    """Files of a kind that are read once the model's inputs are known.

    Attributes
    ----------
    source : Path or tuple of Path
        A folder, whose files are taken in the order of their names, those of its subfolders as
        well; or files in their order.
    normalisation : Normalisation or None
        What is read goes through it.
    labels : Path or None
        A table of classes, with the columns ``file``, a path from the folder on, and ``label``.
        Without it ``labels.csv`` in the folder, where there is one; else the subfolders are the
        classes, where all files lie in some. Where all classes are whole numbers, they are these
        numbers; other names are numbered in their order, from 0.
    """

    source: Path | tuple[Path, ...]
    normalisation: Normalisation | None = None
    labels: Path | None = None
    _read: dict[tuple[tuple[InputSpec, ...], int], Dataset] = field(
        default_factory=dict, repr=False
    )

    # What it holds, in words, and how the names of such files end.
    kind: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]

    @property
    def name(self) -> str:
        """What errors call it."""
        if isinstance(self.source, tuple):
            return counted(len(self.source), self.kind.removesuffix("s"))
        return str(self.source)

    def files(self, samples: int | None = None) -> list[Path]:
        """The files that are used, evenly spread where there are more than ``samples``.

        Raises
        ------
        DataError
            There are none.
        """
        paths = list(self.source) if isinstance(self.source, tuple) else self._found(self.source)
        count = len(paths) if samples is None else min(samples, len(paths))
        return [paths[k] for k in spread(len(paths), count)]

    def _found(self, folder: Path) -> list[Path]:
        paths = files_in(folder, self.suffixes)
        if not paths:
            raise DataError(f"{folder} holds no {self.kind} ({', '.join(self.suffixes)})")
        return paths

    def entries(self, inputs: Sequence[InputSpec]) -> int:
        """How many inputs they are for a model."""
        return len(self.files())

    def for_model(self, inputs: Sequence[InputSpec], count: int) -> Dataset:
        """At most ``count`` inputs of a model; those of one count for the same inputs are read
        once.

        Raises
        ------
        DataError
            There are no files, one cannot be read, or the model takes nothing of the kind.
        """
        key = tuple(inputs), count
        if key not in self._read:
            self._read[key] = self._loaded(inputs, count)
        return self._read[key]

    def _loaded(self, inputs: Sequence[InputSpec], count: int) -> Dataset:
        raise NotImplementedError

    @property
    def table(self) -> Path | None:
        """The table of classes, where there is one."""
        if self.labels is not None or isinstance(self.source, tuple):
            return self.labels
        return self.source / TABLE if (self.source / TABLE).is_file() else None

    def classes(self, chosen: Sequence[Path]) -> tuple[NDArray[np.int64] | None, int | None]:
        """The class of each file, and how many there are where names alone tell them apart."""
        if isinstance(self.source, tuple):
            return None, None
        table = self.table
        of_file = _by_subfolder(self.source, self.files()) if table is None else _read_table(table)
        if not of_file:
            return None, None
        names = sorted(set(of_file.values()))
        numbered = all(name.isdecimal() and len(name) <= _DIGITS for name in names)
        numbers = {name: int(name) if numbered else k for k, name in enumerate(names)}
        places = [path.relative_to(self.source).as_posix() for path in chosen]
        missing = [place for place in places if place not in of_file]
        if missing:
            raise DataError(
                f"{table} has no label for {len(missing)} of {len(places)} {self.kind}, "
                f"{missing[0]} first"
            )
        source = "its subfolders" if table is None else str(table)
        if numbered:
            mention(f"the classes of {self.name} are {len(names)} numbers in {source}")
        else:
            told = ", ".join(f"{name} = {number}" for name, number in [*numbers.items()][:_TOLD])
            more = f" and {len(numbers) - _TOLD} more" if len(numbers) > _TOLD else ""
            mention(f"the classes of {self.name} are those of {source}: {told}{more}")
        y = np.array([numbers[of_file[place]] for place in places], np.int64)
        return y, None if numbered else len(names)


def files_in(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """The files of a folder, and of those in it, whose names end so; in the order of the names."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes)


def _by_subfolder(folder: Path, files: Sequence[Path]) -> dict[str, str]:
    """The subfolder of each file; empty where some lie in none, or all in one."""
    parts = [path.relative_to(folder).parts for path in files]
    if any(len(each) < 2 for each in parts) or len({each[0] for each in parts}) < 2:
        return {}
    return {"/".join(each): each[0] for each in parts}


def _is_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns, whatever they are called."""
    first, *others = rows
    if [cell.lower() for cell in first] == _HEADER:
        return True
    numbered = all(row[-1].isdecimal() for row in others)
    return bool(others) and numbered and not first[-1].isdecimal()


def _read_table(path: Path) -> dict[str, str]:
    """The label of each file, as a table says."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as opened:
            rows = [[cell.strip() for cell in row] for row in csv.reader(opened) if row]
    except OSError as error:
        raise DataError(f"labels {path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"labels {path} is no table in UTF-8: {error}") from None
    if rows and _is_header(rows):
        rows = rows[1:]
    found: dict[str, str] = {}
    for row in rows:
        if len(row) != 2 or not all(row):
            raise DataError(f"labels {path}: {','.join(row)!r} is no line of the form file,label")
        name = Path(row[0]).as_posix()
        if found.setdefault(name, row[1]) != row[1]:
            raise DataError(f"labels {path} gives {name} two labels, {found[name]} and {row[1]}")
    if not found:
        raise DataError(f"labels {path} holds no line of the form file,label")
    return found
