"""The queries and keys of a graph that can become narrower inside their heads."""

from __future__ import annotations

from collections.abc import Collection

from nmcore.group import Declined, ScorePair
from nmcore_onnx.ir.nodes import label
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.scores.backwards import NotFollowedError, followed
from nmcore_onnx.trace.scores.order import wrong_order
from nmcore_onnx.trace.scores.slots import Side, TracedPair
from nmcore_onnx.trace.scores.softmax import Meeting, meetings

# No head has more channels; a file that says so is out for our memory.
_WIDEST = 2**16


def find_pairs(trace: Trace, taken: Collection[str]) -> tuple[list[TracedPair], list[Declined]]:
    """Every attention whose queries and keys can become narrower, and every other one.

    Parameters
    ----------
    trace : Trace
        Of the whole graph, finished.
    taken : collection of str
        Names that groups have.
    """
    pairs: list[TracedPair] = []
    declined = []
    names = set(taken)
    for meeting in meetings(trace):
        try:
            pairs.append(_pair(trace, meeting, names))
        except NotFollowedError as error:
            node = meeting.node
            declined.append(Declined(label(node), node.op_type, str(error)))
    return pairs, declined


def _pair(trace: Trace, meeting: Meeting, names: set[str]) -> TracedPair:
    node, query, key = meeting.node, meeting.query, meeting.key
    if meeting.reason or query is None or key is None:
        raise NotFollowedError(meeting.reason)
    sizes = [trace.size(each.value, each.axis) for each in (query, key)]
    if None in sizes or sizes[0] == 0:
        raise NotFollowedError("the width of its heads is not known")
    widths = [size // each.heads for size, each in zip(sizes, (query, key), strict=True) if size]
    if len(set(widths)) > 1 or widths[0] < 2:
        raise NotFollowedError("its heads hold one channel")
    if widths[0] > _WIDEST:
        raise NotFollowedError("its heads are wider than any")
    if label(node) in names:
        raise NotFollowedError("another node has the same name")
    atoms = trace.atoms.fresh(widths[0])
    sides: list[Side] = []
    for each, said in ((query, "queries"), (key, "keys")):
        try:
            sides.append(followed(trace, each, atoms, node))
        except NotFollowedError as error:
            raise NotFollowedError(f"its {said} {error}") from None
    if sides[0].node is sides[1].node or sides[0].heads % sides[1].heads:
        raise NotFollowedError("its queries and keys come from one layer")
    reason = wrong_order(meeting, sides[0], sides[1], widths[0], trace)
    if reason:
        raise NotFollowedError(reason)
    names.add(label(node))
    pair = ScorePair(
        label(node),
        widths[0],
        [label(side.node) for side in sides],
        [label(node)],
        heads=sides[0].heads,
        key_heads=sides[1].heads,
    )
    return TracedPair(pair, atoms, node, *sides)
