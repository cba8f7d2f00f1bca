"""Which criterion, method and form suit a group, and why: what ``auto`` stands for."""

from __future__ import annotations

from dataclasses import dataclass

from nmcore.group import Producer


@dataclass(frozen=True)
class Options:
    """How channels are chosen and compensated; the words of the command line.

    Attributes
    ----------
    method : {"auto", "merge", "prune"}
        How the removed channels are compensated; ``auto`` takes the best applicable one.
    criterion : {"auto", "l1", "l2", "l2-gm", "random", "out-norm"}
        The score by which channels are kept.
    threshold : float or None
        Merge only where the cosine reaches it; None takes the published value for the form.
    lam : float
        Weight of the cosine distance against the bias distance, where there is one.
    bn_form : {"auto", "released", "folded"}
        How a batch norm enters the similarity; see :func:`nmcore.scaling_matrix`.
    seed : int
        For whatever is random.
    """

    method: str = "auto"
    criterion: str = "auto"
    threshold: float | None = None
    lam: float = 0.85
    bn_form: str = "auto"
    seed: int = 0


@dataclass(frozen=True)
class Recipe:
    """The choice for one group, with ``auto`` resolved, and its reason in one line."""

    criterion: str
    method: str
    bn_form: str
    reason: str


def recipe_for(producer: Producer, options: Options) -> Recipe:
    """Resolve ``auto`` for a group and say why."""
    criterion, why_criterion = _criterion(producer, options.criterion)
    bn_form, why_form = _form(producer, options.bn_form)
    method = "merge" if options.method == "auto" else options.method
    reason = f"{criterion}: {why_criterion}"
    if method == "merge":
        reason += f"; {why_form}"
    return Recipe(criterion, method, bn_form, reason)


def _criterion(producer: Producer, asked: str) -> tuple[str, str]:
    """Rows whose batch norm was folded in carry its scale, and their own norm says little.

    Measured on networks with folded batch norms, where out-norm wins by far, and on fully
    connected ones without any, where the published l1 holds up better: see docs of the results.
    """
    if asked != "auto":
        return asked, "as asked"
    if producer.batchnorm is not None:
        return "l1", "the published criterion"
    if producer.weight.ndim == 2:
        return "l1", "the published criterion for fully connected layers"
    return "out-norm", "the batch norm is folded away"


def _form(producer: Producer, asked: str) -> tuple[str, str]:
    """How rows are compared, in the words of :func:`nmcore.scaling_matrix`."""
    if asked != "auto":
        return asked, f"{asked} form, as asked"
    if producer.batchnorm is not None:
        return "released", "batch norm in the released form"
    if producer.weight.ndim == 2:
        return "released", "rows compared with their biases"
    return "folded", "rows and biases compared apart, as after a folded batch norm"
