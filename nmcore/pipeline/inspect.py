"""What a model holds and what of it can be compressed."""

from __future__ import annotations

from pathlib import Path

from nmcore.plugins import registry
from nmcore.report.inspection import Inspection
from nmcore.report.phrases import cost_notes


def inspect(model: registry.ModelLike) -> Inspection:
    """Tell what can be compressed of a model, and what is left alone and why; nothing is run.

    Parameters
    ----------
    model : path, bytes or object
        A model file, its content, or an object that an installed backend understands.

    Returns
    -------
    Inspection

    Raises
    ------
    nmcore.errors.ModelError
        The model cannot be read.

    Examples
    --------
    >>> import nmcore
    >>> found = nmcore.inspect("examples/fashion_mnist/lenet5.onnx")
    >>> found.params, [group.width for group in found.groups]
    (85822, [16, 32, 120, 84])
    >>> found.declined[0].reason
    "its channels are the model's output 'logits'"
    """
    graph = registry.open_graph(model)
    (name,) = registry.names_of([Path(model) if isinstance(model, str) else model])
    cost = graph.cost()
    return Inspection(
        model=name,
        nodes=cost.nodes,
        params=cost.params,
        macs=cost.macs,
        assumed=cost.assumed,
        uncounted=cost.uncounted,
        warnings=(*cost_notes(cost),),
        groups=(*graph.groups,),
        declined=(*graph.declined,),
    )
