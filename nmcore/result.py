"""What a compression gives: the smaller model, and the account of how it came about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nmcore import plugins
from nmcore.allocation import Spent
from nmcore.files import Draft, drafting
from nmcore.group import Cost, Declined
from nmcore.plan import Outcome, Plan
from nmcore.report import Measures, Report
from nmcore.spread import Spread


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """A compressed model and the account of how it came about.

    Attributes
    ----------
    plan : Plan
        The decision for every group, and what replaying it needs.
    outcomes : sequence of Outcome
        What was done, group by group, in topological order.
    declined : sequence of Declined
        What was left alone, and why.
    before, after : Cost
        Size and work of the two models.
    size : int
        Bytes of the original.
    call, seed, verified
        How it was made.
    notes : sequence of str
        What was chosen on the user's behalf, and why, a line each.
    budget : Spent or None
        What became of the budget, where one was given.
    spread : Spread or None
        How results with other seeds differ, where several were tried.
    cautions : sequence of str
        Why what was measured may be worth little, a line each.
    """

    graph: plugins.Graph = field(repr=False)
    plan: Plan = field(repr=False)
    outcomes: Sequence[Outcome] = field(repr=False)
    declined: Sequence[Declined] = field(repr=False)
    before: Cost
    after: Cost
    size: int
    call: str
    seed: int
    verified: bool
    notes: Sequence[str] = ()
    budget: Spent | None = None
    spread: Spread | None = None
    cautions: Sequence[str] = ()

    @property
    def model(self) -> Any:
        """The compressed model, in the backend's own format."""
        return self.graph.result()

    @property
    def report(self) -> Report:
        """The account as data, without latencies: those are measured by the command line."""
        return Report.of(
            self,
            before=Measures.of(self.before, self.size, None),
            after=Measures.of(self.after, self.graph.size(), None),
            command=self.call,
            seed=self.seed,
            provider=None,
            threads=None,
            verified=self.verified,
        )

    @property
    def warnings(self) -> Sequence[str]:
        """What makes the result useless, or next to it, a line each."""
        return self.report.warnings

    def __repr__(self) -> str:
        from nmcore.display import report_text

        return report_text(self.report)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from nmcore.display import report_html

        return report_html(self.report)

    def save(self, path: str | Path, *, external_data: bool | None = None) -> None:
        """Write the compressed model; a crash leaves the old file at ``path`` or none.

        Parameters
        ----------
        path : path
            The model's file.
        external_data : bool, optional
            Whether large weights go into a file of their own beside it, whose name tells its
            content: ``<name>.<digits>.data``. By default only what one file cannot hold does
            (2 GiB).

        Raises
        ------
        nmcore.errors.ArgumentError
            The file cannot be written, or the disk is full.
        """
        with self.draft(path, external_data=external_data) as draft:
            draft.publish(keep=self.graph.data_files())

    @contextmanager
    def draft(self, path: str | Path, *, external_data: bool | None = None) -> Iterator[Draft]:
        """Write the compressed model beside ``path``, to be looked at before it is published.

        ``draft.path`` loads in a runtime, whatever its size. Without ``draft.publish()`` nothing is
        left at the end.

        Examples
        --------
        >>> import tempfile, nmcore
        >>> result = nmcore.compress("examples/fashion_mnist/lenet5.onnx", method="merge")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with result.draft(Path(folder) / "small.onnx") as draft:
        ...         draft.size() == result.graph.size()
        True
        """
        with drafting(Path(path)) as draft:
            self.graph.write_files(draft.folder, draft.target.name, external_data)
            yield draft
