"""What a model holds and what of it can be compressed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nmcore.options.options import CompressOptions
from nmcore.plugins import capabilities, registry
from nmcore.plugins.open_sizes import Stated
from nmcore.plugins.states import Stateful, all_states
from nmcore.report.inspection import Inspection
from nmcore.report.phrases import cost_notes, states_note


def inspect(
    model: registry.ModelLike,
    *,
    input_shape: Stated | Sequence[int] | None = None,
    states: bool = False,
) -> Inspection:
    """Tell what can be compressed of a model, and what is left alone and why; nothing is run.

    Parameters
    ----------
    model : path, bytes or object
        A model file, its content, or an object that an installed backend understands.
    input_shape : mapping of str to shape, or shape, optional
        At which shapes of its inputs it is counted, as for :func:`nmcore.compress`.
    states : bool
        Tell what can go where states that are inputs and outputs of the model may shrink.

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
    stated = CompressOptions.checked(input_shape=input_shape).input_shape
    graph = registry.open_graph(model, stated)
    if states and isinstance(graph, Stateful):
        graph = graph.with_states()
    (name,) = registry.names_of([Path(model) if isinstance(model, str) else model])
    cost = graph.cost()
    return Inspection(
        model=name,
        nodes=cost.nodes,
        params=cost.params,
        macs=cost.macs,
        assumed=cost.assumed,
        uncounted=cost.uncounted,
        warnings=(*cost_notes(cost), *(states_note(all_states(graph)) if states else ())),
        groups=(*graph.groups,),
        declined=(*graph.declined,),
        score_pairs=(*capabilities.score_pairs(graph),),
        declined_pairs=(*capabilities.declined_pairs(graph),),
    )
