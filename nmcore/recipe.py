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
    """Resolve ``auto`` for a group.

    Where the graph still holds the batch norm, the published recipe applies as it is. Where the
    exporter folded it away, the rows carry its scale, and their own norm says less about how much
    a channel matters than their norm times that of the columns that read it.
    """
    kept = producer.batchnorm is not None
    criterion, bn_form, reasons = options.criterion, options.bn_form, []
    if criterion == "auto":
        criterion = "l1" if kept else "out-norm"
        reasons.append(f"{criterion} criterion: batch norm {'kept' if kept else 'folded or absent'}")
    else:
        reasons.append(f"{criterion} criterion: as asked")
    if bn_form == "auto":
        bn_form = "released"
    method = "merge" if options.method == "auto" else options.method
    return Recipe(criterion, method, bn_form, "; ".join(reasons))
