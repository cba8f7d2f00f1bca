"""Which criterion, method and form suit a group, and why: what ``auto`` stands for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nmcore.errors import ArgumentError
from nmcore.group import Producer
from nmcore.options.methods import RECONSTRUCTION
from nmcore.options.options import MethodOptions
from nmcore.plugins.capabilities import score_pairs
from nmcore.plugins.protocols import Graph, Measurable


def strategy(options: MethodOptions, graph: Graph) -> tuple[str, str]:
    """Resolve ``auto`` for the whole model, and say why in one line.

    Raises
    ------
    ArgumentError
        Options contradict each other.
    """
    merge_words = options.of_merging
    if options.criterion == "error" and options.method not in ("auto", RECONSTRUCTION):
        raise ArgumentError("criterion error is measured; it belongs to method moments")
    if options.method == RECONSTRUCTION and merge_words:
        raise ArgumentError(f"{merge_words[0]} belongs to method merge, not {options.method}")
    measurable = isinstance(graph, Measurable)
    measured = [*(each for each in graph.groups if not each.unmeasured), *score_pairs(graph)]
    if options.method == RECONSTRUCTION and not measurable:
        raise ArgumentError("method moments needs a backend that can measure activations")
    if options.method == RECONSTRUCTION or (
        options.method == "auto"
        and measurable
        and not merge_words
        and (measured or not graph.groups)
    ):
        return RECONSTRUCTION, (
            "channels chosen by the error they leave; what reads them refitted to the original"
        )
    method = "merge" if options.method == "auto" else options.method
    reason = f"method {method}, as asked"
    if options.method == "auto":
        why = f"{merge_words[0]} belongs to it" if merge_words else "nothing can be measured here"
        reason = f"method merge: {why}"
    return method, reason


def unused(options: MethodOptions, method: str, samples: int | None) -> Iterator[str]:
    """Yield a line where options were given that a method does not read.

    Parameters
    ----------
    method : str
        What ``auto`` has become, or was asked for.
    samples : int or None
        How many inputs to measure on, where that was given and nothing else needs them.

    Examples
    --------
    >>> list(unused(MethodOptions(lam=0.5), "prune", 64))
    ['lam, samples: not used by method prune']
    """
    words = options.of_merging if method != "merge" else []
    if samples is not None and method != RECONSTRUCTION:
        words = [*words, "samples"]
    if words:
        yield f"{', '.join(words)}: not used by method {method}"


@dataclass(frozen=True)
class Recipe:
    """The choice for one group, with ``auto`` resolved, and its reason in one line."""

    criterion: str
    method: str
    bn_form: str
    reason: str


def recipe_for(producer: Producer, options: MethodOptions, *, planned: bool = False) -> Recipe:
    """Resolve ``auto`` for a group, whose kept channels may be planned already, and say why."""
    criterion, why_criterion = _criterion(producer, options.criterion)
    bn_form, why_form = _form(producer, options.bn_form)
    method = "merge" if options.method in ("auto", RECONSTRUCTION) else options.method
    reason = "channels as planned" if planned else f"criterion {criterion}: {why_criterion}"
    if method == "merge":
        reason += f"; {why_form}"
    return Recipe(criterion, method, bn_form, reason)


def _criterion(producer: Producer, asked: str) -> tuple[str, str]:
    """Rows whose batch norm was folded in carry its scale, and their own norm says little.

    Measured on networks with folded batch norms, where out-norm wins by far, and on fully
    connected ones without any, where the published l1 holds up better
    (``benchmarks/accuracy/resnet56.py``, ``lenet300100.py``).
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
