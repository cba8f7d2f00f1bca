"""The call of a compression, as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from nmcore.data.dataset import Dataset
from nmcore.data.feeds import FeedList
from nmcore.data.folder import Folder
from nmcore.options.options import CompressOptions


def written_call(
    model: Any,
    options: CompressOptions,
    plan: Any,
    data: Any,
    metrics: Iterable[str],
    name_of: Callable[[str | Path], str],
) -> str:
    """The call as it was written, with the options that differ from their defaults."""
    words = [
        f"{name}={repr(name_of(value)) if isinstance(value, Path) else repr(value)}"
        for name, value in options.changed.items()
    ]
    words += [f"metric={[*metrics]!r}"] if [*metrics] else []
    words += [
        f"{name}={_named(value, name_of)}"
        for name, value in (("plan", plan), ("data", data))
        if value is not None
    ]
    return f"nmcore.compress({', '.join([_named(model, name_of), *words])})"


def _named(value: Any, name_of: Callable[[str | Path], str]) -> str:
    """A file's name, or of what kind an object is."""
    value = value.name if isinstance(value, (Dataset, Folder, FeedList)) else value
    return repr(name_of(value)) if isinstance(value, (str, Path)) else type(value).__name__


def file_name(path: str | Path) -> str:
    """The name without its folder, which is not passed on."""
    return Path(path).name
