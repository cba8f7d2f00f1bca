"""Finished measurements in a JSON file, from which a stopped benchmark goes on."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nmcore.utils.files import atomic_write

Result = dict[str, Any]
PACKAGES = ("nmcore", "numpy", "onnx", "onnxruntime-gpu", "onnxruntime")


@dataclass(frozen=True)
class Record:
    """One measurement.

    Attributes
    ----------
    cell : mapping
        Which row and column of its table it fills; there is one record a cell.
    key : mapping
        All that it depends on: the command, the digests of the files. Where any of it has changed
        the cell is measured again. The program itself counts by its version alone: delete the file
        after changing it.
    result : mapping
        What came out.
    machine : str
        Where.
    """

    cell: Mapping[str, str]
    key: Mapping[str, Any]
    result: Result
    machine: str


class Store:
    """The records of one benchmark, kept in ``path`` if there is one."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.records = load(path) if path is not None and path.exists() else []

    def once(
        self, cell: Mapping[str, str], key: Mapping[str, Any], measure: Callable[[], Result]
    ) -> Result:
        """Return what is known of a cell, else measure it and keep the result."""
        place = next((k for k, each in enumerate(self.records) if each.cell == cell), None)
        if place is not None and self.records[place].key == key:
            return self.records[place].result
        print(", ".join(cell.values()), file=sys.stderr, flush=True)
        record = Record(cell, key, measure(), machine())
        if place is None:
            self.records.append(record)
        else:
            self.records[place] = record
        self._write()
        return record.result

    def _write(self) -> None:
        if self.path is not None:
            text = json.dumps([asdict(record) for record in self.records], indent=1)
            atomic_write(self.path, f"{text}\n".encode())


def load(path: Path) -> list[Record]:
    """Read the records of a benchmark."""
    try:
        return [Record(**each) for each in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, TypeError):
        sys.exit(f"{path} holds no results of this benchmark; delete it or name another file")


class Grid:
    """Look up results by cell, where a table is written."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records

    def find(self, **cell: str) -> Result | None:
        """Return the result of exactly this cell; None where it was not measured."""
        return next((each.result for each in self.records if each.cell == cell), None)

    def values(self, label: str) -> list[str]:
        """Return what a label takes, in the order of measurement."""
        return list(dict.fromkeys(each.cell[label] for each in self.records if label in each.cell))


@cache
def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's names and sizes."""
    if not path.is_dir():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    files = sorted(each for each in path.rglob("*") if each.is_file())
    listing = [f"{each.relative_to(path)} {each.stat().st_size}" for each in files]
    return hashlib.sha256("\n".join(listing).encode()).hexdigest()


@cache
def machine() -> str:
    """Processor, cores and versions; neither names nor paths of this machine."""
    versions = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return f"{_processor()}, {_cores()} cores; {platform.system()}; {', '.join(versions)}"


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    if described.is_file():
        for line in described.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
