"""Whether the files that a command is to write may be written, before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

# How the names of models end, which may also end as IN's does.
MODEL = ".onnx"


def check_targets(
    read: Mapping[str, Path | None],
    target: Path | None,
    reports: Sequence[Path],
    plan_path: Path | None,
) -> None:
    """Refuse files that cannot be written, or that would replace what is read."""
    from nmcore.report.writers import check_format
    from nmcore.utils.files import check_writable

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


def check_out(source: Path, target: Path, *, overwrite: bool) -> None:
    """Refuse an OUT that is no model by its name, or is IN."""
    from nmcore.errors import ArgumentError

    if target.suffix.lower() not in (MODEL, source.suffix.lower()):
        raise ArgumentError(f"OUT {target}: its name must end in {MODEL}")
    if not overwrite and target.exists() and target.samefile(source):
        raise ArgumentError(
            f"OUT is IN, {target}: the original would be lost; give another name, "
            "or --overwrite if that is meant"
        )


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
