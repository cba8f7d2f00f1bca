"""What a compression may write, and what it must not replace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nmcore.errors import ArgumentError
from nmcore.report.writers import check_format
from nmcore.utils.files import check_writable


def check_targets(
    read: Mapping[str, Path | None],
    target: Path | None,
    reports: Sequence[Path],
    plan_path: Path | None,
) -> None:
    """Raise where a file that is to be written cannot be, or would replace another of the call."""
    for path in reports:
        check_format(path)
    if plan_path is not None:
        _check_json(plan_path)
    files = [("the report", path) for path in reports]
    files += [("the plan", plan_path)] if plan_path else []
    written = [("OUT", target), *files] if target else files
    for _, path in written:
        check_writable(path)
    _check_apart(written)
    # OUT may replace IN, where that is asked for, and a plan the one it completes; nothing else
    # may replace what is read.
    allowed = {("IN", "OUT"), ("the plan", "the plan")}
    for each in ((what, path) for what, path in read.items() if path is not None):
        for other in written:
            if (each[0], other[0]) not in allowed:
                _check_apart([each, other])


def check_original(source: Path, target: Path) -> None:
    """Raise where the model that is read would be lost, or something that is no model."""
    if target.exists() and source.exists() and target.samefile(source):
        raise ArgumentError(
            f"OUT is IN, {target}: the original would be lost; give another name, "
            "or --overwrite if that is meant"
        )
    if target.exists() and target.suffix.lower() != source.suffix.lower():
        raise ArgumentError(
            f"OUT {target} exists and is no model by its name, which does not end in "
            f"{source.suffix}; give another name, or --overwrite if that is meant"
        )


def _check_json(path: Path) -> None:
    if path.suffix.lower() != ".json":
        raise ArgumentError(f"plan {path}: its name must end in .json")


def _check_apart(paths: Sequence[tuple[str, Path]]) -> None:
    seen: dict[Path, str] = {}
    for what, path in paths:
        if path.resolve() in seen:
            raise ArgumentError(f"{seen[path.resolve()]} and {what} are the same file, {path}")
        seen[path.resolve()] = what
