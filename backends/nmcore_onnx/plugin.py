"""The plugin object that the entry point names."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import InlinePass

from nmcore.errors import blaming
from nmcore_onnx.ir import bodies, constants, defaults, names
from nmcore_onnx.ir.types import Shapes
from nmcore_onnx.measurable import MeasurableGraph
from nmcore_onnx.quantisation import dequantised
from nmcore_onnx.rewrite import fold_constants
from nmcore_onnx.rewrite.fold_transposes import fold_transposes, foldable
from nmcore_onnx.rewrite.inline_branches import decided, inline_branches
from nmcore_onnx.rewrite.only_branches import fitting
from nmcore_onnx.rewrite.origin import Origin
from nmcore_onnx.shapes.refinement import refined
from nmcore_onnx.storage import files
from nmcore_onnx.storage.examples import examples

log = logging.getLogger(__name__)


class OnnxBackend:
    """Opens ONNX files, their content, ``onnx.ModelProto`` and ``onnx_ir.Model`` objects."""

    name = "onnx"

    def accepts(self, model: Any) -> bool:
        """Any file and its bytes, as ONNX has no signature to look for, and ONNX's own objects."""
        return isinstance(model, (Path, bytes, onnx.ModelProto, ir.Model))

    def open(self, model: Any) -> MeasurableGraph:
        """Read and trace a model.

        Raises
        ------
        nmcore.errors.ModelError
            It cannot be read, or is not valid ONNX in a way that cannot be followed.
        """
        name = str(model) if isinstance(model, Path) else "the model"
        left_out: list[str] = []
        if isinstance(model, Path):
            model = files.load(model, left_out)
        elif isinstance(model, bytes):
            model = files.from_bytes(model, left_out)
        elif isinstance(model, onnx.ModelProto):
            model = files.from_proto(model, left_out)
        else:
            model = model.clone()  # the caller's own stays as it is
        with blaming(name, lambda: files.fault(model)):
            defaults.mark(model)
            return _traced(model, left_out)

    def examples(
        self, model: Path, names: Callable[[], Sequence[str]]
    ) -> Sequence[Mapping[str, NDArray[Any]]]:
        """Inputs that lie beside a file; see :func:`nmcore_onnx.storage.examples.examples`."""
        return examples(model, names)


class Names(NamedTuple):
    """The weights behind Transposes, and those that are computed from constants."""

    transposed: list[str]
    computed: list[str]

    def among(self, others: Container[str]) -> Names:
        """Those that are among others too."""
        return Names(*([name for name in names if name in others] for names in self))


def _traced(source: ir.Model, left_out: Sequence[str], *, states: bool = False) -> MeasurableGraph:
    """Trace a model, with what computes the weights that channels are removed from folded in."""
    origin = Origin(source, left_out, states, reopen=lambda: _traced(source, left_out, states=True))
    model, shapes = _without_decided(bodies.with_unique_names(dequantised(_inlined(source))))
    names.adopt(model.graph)
    graphs = list(bodies.graphs(model.graph))
    found = Names(
        [name for each in graphs for name in foldable(each)],
        [name for each in graphs for name in fold_constants.foldable(each)],
    )
    if not any(found):
        return _with_sums(MeasurableGraph(model, shapes, origin))
    graph = _with_sums(_folded(model, shapes, found, origin))
    useful = found.among(graph.weights())
    if useful != found:
        origin = replace(origin, declined=graph.declined)
        graph = _with_sums(_folded(model, shapes, useful, origin))
    return graph


def _without_decided(model: ir.Model) -> tuple[ir.Model, Shapes]:
    """The model without Ifs that always take the same branch, or can only take one, and its shapes:
    a copy where there are any. What was inside a branch may decide the next ones.
    """
    shapes = refined(model)
    while conditions := decided(model.graph, shapes) or fitting(model):
        model = model.clone()
        inline_branches(model.graph, conditions)
        shapes = refined(model)
    return model, shapes


def _with_sums(graph: MeasurableGraph) -> MeasurableGraph:
    """The same with means over channels as products, where channels can be removed there."""
    sums = graph.channel_sums()
    if not sums:
        return graph
    summed = graph.with_sums(sums)
    read = {name for group in summed.groups for name in group.consumers}
    useful = {name: each for name, each in sums.items() if name in read}
    if not useful:
        return graph
    return summed if useful == sums else graph.with_sums(useful)


def _inlined(model: ir.Model) -> ir.Model:
    """The model without functions of its own: a copy, where it has any."""
    if not model.functions:
        return model
    copy = model.clone()
    try:
        InlinePass()(copy)
    except Exception as error:  # such as functions that call each other in a circle
        log.debug("functions are not inlined: %s", error)
        return model
    return copy


def _folded(model: ir.Model, shapes: Shapes, folded: Names, origin: Origin) -> MeasurableGraph:
    """Trace a copy, as the caller's own model stays as it is; only the weights' shapes change."""
    copy = model.clone()
    inputs = defaults.unlist(copy)
    names.adopt(copy.graph)
    graphs = list(bodies.graphs(copy.graph))
    for graph in graphs:
        fold_transposes(graph, [each for each in folded.transposed if each in graph.initializers])
        fold_constants.fold_constants(graph, folded.computed)
    defaults.relist(copy, inputs)
    new = {*folded.transposed, *folded.computed}
    known = {
        name: constants.shape(value) or ()
        for graph in graphs
        for name, value in graph.initializers.items()
        if name in new
    }
    return MeasurableGraph(copy, {**shapes, **known}, origin)
