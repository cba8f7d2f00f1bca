"""What a plugin offers, and how it is found: the protocols that it fulfils, and their data."""

from nmcore.plugins.capabilities import Describing, Lexical, Maskable, Table
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
    "Carried",
    "Describing",
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
