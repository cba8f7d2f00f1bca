"""From traced channels to groups: which are cut together, and what stays, with its reason."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from onnx_ir.traversal import RecursiveGraphIterator

from nmcore.group import Declined, Group, IntArray
from nmcore_onnx.ir import constants
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.modules import other_names
from nmcore_onnx.ir.nodes import label
from nmcore_onnx.trace import operators
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.slots import ConsumerSlot, FilterSlot, ProducerSlot


@dataclass(frozen=True, eq=False)
class TracedGroup:
    """A group with all the places it touches.

    Attributes
    ----------
    group : Group
        What the core sees of it.
    units : int array, shape (N,)
        The atom of each unit that is kept or removed as a whole, mostly one channel.
    producers, consumers, filters : tuple of slots
        Where its rows are made, where its columns are read, and the grouped convolutions between.
    """

    group: Group
    units: IntArray
    producers: tuple[ProducerSlot, ...]
    consumers: tuple[ConsumerSlot, ...]
    filters: tuple[FilterSlot, ...]

    def positions(self, atoms: IntArray) -> IntArray:
        """The positions of an axis, owned by ``atoms``, that each unit has: shape (N, r)."""
        return positions(atoms, self.units)


def positions(atoms: IntArray, units: IntArray) -> IntArray:
    """Where each of ``units`` stands in ``atoms``, shape (N, r); every one as often.

    >>> positions(np.array([7, 9, 7, 8, 9, 8]), np.array([7, 8]))
    array([[0, 2],
           [3, 5]])
    """
    order = np.argsort(atoms, kind="stable")
    owners = atoms[order]
    first = np.searchsorted(owners, units)
    count = np.searchsorted(owners, units, side="right") - first
    assert (count == count[0]).all()
    return order[first[:, None] + np.arange(count[0])]


def find_groups(trace: Trace) -> tuple[list[TracedGroup], list[Declined]]:
    """Every group that can be cut, and every weighted node that is left alone.

    Channels form a group where the same weights make and read them and the same values carry them,
    equally often: then one can stand for another everywhere, and no value loses all of its own.
    """
    frozen = _frozen(trace)
    members: dict[tuple[tuple[int, int], ...], list[int]] = defaultdict(list)
    for atom, signature in _signatures(trace).items():
        if atom not in frozen:
            members[signature].append(atom)
    names: Counter[str] = Counter()
    nodes = {label(node) for node in RecursiveGraphIterator(trace.graph)}
    groups = []
    for signature, units in members.items():
        if len(units) == 1:
            frozen[units[0]] = "it makes one channel, or channels that cannot be told apart"
            continue
        traced = _group(trace, np.array(units), [slot for slot, _ in signature], names, nodes)
        groups.append(traced)
    return _with_members(trace, groups), _declined(trace, frozen)


def _with_members(trace: Trace, groups: Sequence[TracedGroup]) -> list[TracedGroup]:
    """The groups with the names of all that holds an entry for each of their channels."""
    holder = {atom: k for k, item in enumerate(groups) for atom in item.units.tolist()}
    members: list[dict[str, bool]] = [{} for _ in groups]
    slots: list[tuple[ir.Node, Place, IntArray]] = [
        *((each.node, each.place, each.atoms) for each in trace.producers),
        *((each.node, each.place, each.made) for each in trace.filters),
        *((each.place.node, each.place, each.atoms) for each in trace.slots),
    ]
    for node, place, atoms in slots:
        names = [label(node), *other_names(node, [place.value])]
        for k in {holder[atom] for atom in atoms.tolist() if atom in holder}:
            is_whole = np.array_equal(atoms, groups[k].units)
            for name in names:
                members[k][name] = members[k].get(name, True) and is_whole
    return [
        replace(item, group=replace(item.group, members=found))
        for item, found in zip(groups, members, strict=True)
    ]


def _frozen(trace: Trace) -> dict[int, str]:
    """The atoms that stay, with the reason: what stood in the way, or nothing to gain."""
    stays = list(trace.reasons)
    roots = trace.atoms.roots(np.array(stays, dtype=np.intp))
    frozen: dict[int, str] = {}
    for atom, root in zip(stays, roots.tolist(), strict=True):
        frozen.setdefault(root, trace.reasons[atom])
    read = {int(atom) for slot in trace.consumers for atom in slot.atoms}
    names = Counter(label(node) for node in RecursiveGraphIterator(trace.graph))
    for slot in trace.producers:
        for atom in slot.atoms.tolist():
            if names[label(slot.node)] > 1:
                frozen.setdefault(atom, "another node has the same name")
            if atom not in read:
                frozen.setdefault(atom, "no weight that nmcore can change reads its output")
    return frozen


def _signatures(trace: Trace) -> dict[int, tuple[tuple[int, int], ...]]:
    """Which weights and values have each produced atom, and how often; in topological order."""
    found: dict[int, list[tuple[int, int]]] = {}
    for slot in trace.producers:
        for atom in slot.atoms.tolist():
            found.setdefault(atom, [])
    for number, owners in enumerate(_owners(trace)):
        atoms, counts = np.unique(owners, return_counts=True)
        for atom, count in zip(atoms.tolist(), counts.tolist(), strict=True):
            if atom in found:
                found[atom].append((number, count))
    return {atom: tuple(signature) for atom, signature in found.items()}


def _owners(trace: Trace) -> list[IntArray]:
    return [
        *(slot.atoms for slot in trace.producers),
        *(slot.atoms for slot in trace.consumers),
        *(slot.made for slot in trace.filters),
        *(channels.atoms for channels in trace.channels.values()),
    ]


def _group(
    trace: Trace, units: IntArray, numbers: Sequence[int], names: Counter[str], nodes: set[str]
) -> TracedGroup:
    """Gather the slots of a group; a second one of the same first producer has a number."""
    first = len(trace.producers)
    second = first + len(trace.consumers)
    third = second + len(trace.filters)
    producers = tuple(trace.producers[n] for n in numbers if n < first)
    consumers = tuple(trace.consumers[n - first] for n in numbers if first <= n < second)
    filters = tuple(trace.filters[n - second] for n in numbers if second <= n < third)
    group = Group(
        _free_name(label(producers[0].node), names, nodes),
        len(units),
        list(dict.fromkeys(label(slot.node) for slot in producers)),
        list(dict.fromkeys(label(slot.node) for slot in consumers)),
        positions(producers[0].atoms, units).shape[1] // producers[0].runs,
        list(dict.fromkeys(label(slot.node) for slot in filters)),
        producers[0].runs,
        unmeasured=_INSIDE if _is_read_inside(trace, consumers) else "",
    )
    return TracedGroup(group, units, producers, consumers, filters)


_INSIDE = "in the body of an If, a Loop or a Scan, where nothing is measured"


def _is_read_inside(trace: Trace, consumers: Sequence[ConsumerSlot]) -> bool:
    """Whether a body reads the channels."""
    return any(each.node.graph is not trace.graph for slot in consumers for each in slot.all)


def _free_name(name: str, names: Counter[str], nodes: set[str]) -> str:
    """The first producer's name, with a number where it has made another group before."""
    number, free = 1, name
    while names[free] or (number > 1 and free in nodes):
        number += 1
        free = f"{name}#{number}"
    names[free] += 1
    return free


def _declined(trace: Trace, frozen: Mapping[int, str]) -> list[Declined]:
    """Every weighted node whose channels stay, in part or all of them."""
    reasons = dict(trace.left)
    made: list[ProducerSlot | FilterSlot] = [*trace.producers, *trace.filters]
    for slot in made:
        atoms = slot.made if isinstance(slot, FilterSlot) else slot.atoms
        stay = [atom for atom in atoms.tolist() if atom in frozen]
        if stay:
            some = f"{len(stay)} of its {len(atoms)} channels stay: "
            reasons[slot.node] = (some if len(stay) < len(atoms) else "") + frozen[stay[0]]
    order = {node: k for k, node in enumerate(RecursiveGraphIterator(trace.graph))}
    for node in order:
        if node not in reasons and node not in trace.visited and _is_weighted(node):
            reasons[node] = "inside a subgraph: not supported yet"
    return [
        Declined(label(node), node.op_type, reasons[node], other_names(node, node.inputs))
        for node in sorted(reasons, key=lambda node: order[node])
    ]


def _is_weighted(node: ir.Node) -> bool:
    """Whether a node multiplies with a constant matrix or filter."""
    operator = operators.find(node)
    return (
        operator is not None
        and operator.has_weight
        and any(len(constants.shape(value) or ()) > 1 for value in node.inputs)
    )
