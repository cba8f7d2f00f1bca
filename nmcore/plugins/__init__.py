"""What a plugin offers, and how it is found: the protocols that it fulfils, and their data."""

from nmcore.plugins.capabilities import (
    Block,
    Describing,
    Differentiable,
    Lexical,
    Maskable,
    Table,
)
from nmcore.plugins.protocols import (
    Carried,
    Graph,
    GraphBackend,
    Informative,
    InputHint,
    InputSpec,
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
    "Pair",
    "Pairable",
    "RuntimeBackend",
    "Session",
    "Table",
    "Telling",
    "installed",
    "open_graph",
    "runtime",
]
