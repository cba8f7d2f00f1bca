"""What a compression works on: the opened model and data, and the options."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any

from nmcore.data.loading import Opened
from nmcore.evaluation.metrics.registry import Makers
from nmcore.options.options import CompressOptions
from nmcore.pipeline.original import Original
from nmcore.utils.progress import Progress, silent


@dataclass(frozen=True, eq=False)
class Job:
    """A model, the data that is at hand, and what is wanted.

    Attributes
    ----------
    original : Original
        What is compressed.
    options : CompressOptions
        How.
    data : Dataset, Folder, FeedList or None
        What it is measured on; None for synthetic inputs.
    progress : callable
        Wraps the iteration over groups.
    executor : concurrent.futures.Executor or None
        Solves groups that do not depend on one another.
    metrics : mapping of str to callable
        What results are judged by; empty where the form of the outputs decides.
    call, portable_call : str
        The call as it was written, and the same without the folders of files.
    """

    original: Original
    options: CompressOptions
    data: Opened | None = None
    progress: Progress = silent
    executor: Executor | None = None
    metrics: Makers = field(default_factory=dict)
    call: str = ""
    portable_call: str = ""

    def changed(self, **options: Any) -> Job:
        """The same with other options."""
        return replace(self, options=replace(self.options, **options))
