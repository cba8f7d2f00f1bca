"""The methods side by side, on one network and for one size: the rows of most tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from arguments import Parser
from figures import Panel, Point
from store import Grid, Result
from tables import gain, percent
from trials import Bench, Trial

Results = dict[str, Result | None]

WHOLE = "as it is"
PAPER = ("prune", "merge")
OURS = ("moments", "moments+data")
NORM = {True: "kept", False: "folded"}
# In the words of `nmcore compress --bn-form`: what the authors' program does where there is a
# batch norm to see, and the same idea where there is none left.
FORM = {"kept": "released", "folded": "folded"}
# The paper's; and where batch norms were folded into the rows, the one that sees through that.
CRITERIA = {"kept": ("l1",), "folded": ("l1", "out-norm")}
MERGE = ("--lam", "0.85", "--threshold", "0.1", "--bn-form")


@dataclass(frozen=True)
class Setting:
    """One network and size, compressed by several methods.

    Attributes
    ----------
    cell : mapping
        What names this row in its table.
    size : tuple of str
        How much is removed, as options of ``nmcore compress``.
    criterion : str
        Of the methods that look at weights; the others choose channels by the error they leave.
    merge : tuple of str
        More options for merge.
    """

    model: Path
    cell: Mapping[str, str]
    size: tuple[str, ...]
    criterion: str = "l1"
    merge: tuple[str, ...] = ()

    def run(self, bench: Bench, methods: Sequence[str]) -> None:
        """Measure every method."""
        for method in methods:
            bench.run(self.trial(method), self.cell_of(method))

    def trial(self, method: str) -> Trial:
        """Say how a method is run."""
        if method in OURS:
            return Trial(self.model, method, self.size)
        more = self.merge if method == "merge" else ()
        return Trial(self.model, method, ("--criterion", self.criterion, *more, *self.size))

    def cell_of(self, method: str) -> dict[str, str]:
        """Name the cell of a method."""
        return {**self.cell, "criterion": criterion_of(method, self.criterion), "method": method}


def settings(model: Path, cell: Mapping[str, str], size: tuple[str, ...]) -> Iterator[Setting]:
    """Yield one row for each criterion that suits a graph, with the paper's options for merge."""
    norm = cell["batch norm"]
    for criterion in CRITERIA[norm]:
        yield Setting(model, cell, size, criterion, (*MERGE, FORM[norm]))


def criterion_of(method: str, criterion: str) -> str:
    """Return the criterion that a method goes by: moments have one of their own."""
    return "error" if method in OURS else criterion


def add_methods(parser: Parser, methods: Sequence[str]) -> None:
    """Add ``--method``, for those who do not want all of a table at once."""
    parser.add_argument(
        "--method", nargs="+", choices=methods, default=methods, help="default: all of them"
    )


def usable(methods: Sequence[str], bench: Bench) -> list[str]:
    """Leave out the methods whose calibration inputs were not given."""
    return [each for each in methods if bench.calibration or not each.endswith("+data")]


def row_results(grid: Grid, methods: Sequence[str], criterion: str, **cell: str) -> Results:
    """Look up one row of a table, method by method."""
    return {
        method: grid.find(**cell, criterion=criterion_of(method, criterion), method=method)
        for method in methods
    }


def accuracies(results: Results) -> list[str]:
    """Write top-1 of prune and of merge, the gain, and top-1 of all other methods."""
    prune, merge, *others = results.values()
    return [percent(prune), percent(merge), gain(prune, merge), *map(percent, others)]


def norm_of(model: Path) -> str:
    """Say whether a file written by the shared or our own scripts kept its batch norms."""
    return NORM[model.stem.endswith("_bn")]


def removed_panel(title: str, rows: Mapping[int, Results], whole: Result | None) -> Panel:
    """Draw top-1 over the share of channels removed, a curve a method."""
    curves: dict[str, list[Point]] = {}
    for removed, results in sorted(rows.items()):
        for method, result in results.items():
            if result is not None:
                start = [(0.0, whole["top1"])] if whole else []
                curves.setdefault(method, list(start)).append((float(removed), result["top1"]))
    return Panel(title, curves, "channels removed, %")
