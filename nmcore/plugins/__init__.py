"""What a plugin offers, and how it is found: the protocols that it fulfils, and their data."""

from nmcore.plugins.capabilities import (
    Block,
    Convertible,
    Describing,
    Differentiable,
    Lexical,
    Maskable,
    Narrowable,
    Native,
    Quantised,
    Sizable,
    Table,
)
from nmcore.plugins.inputs import InputHint, InputSpec
from nmcore.plugins.protocols import (
    Carried,
    Graph,
    GraphBackend,
    Informative,
    Measurable,
    Pair,
    Pairable,
    RuntimeBackend,
    Session,
    Telling,
)
from nmcore.plugins.registry import ENTRY_POINT_GROUP, installed, open_graph, runtime

__all__ = [
    "ENTRY_POINT_GROUP",
    "Block",
    "Carried",
    "Convertible",
    "Describing",
    "Differentiable",
    "Graph",
    "GraphBackend",
    "Informative",
    "InputHint",
    "InputSpec",
    "Lexical",
    "Maskable",
    "Measurable",
    "Narrowable",
    "Native",
    "Pair",
    "Pairable",
    "Quantised",
    "RuntimeBackend",
    "Session",
    "Sizable",
    "Table",
    "Telling",
    "installed",
    "open_graph",
    "runtime",
]
