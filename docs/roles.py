"""Links for the reference: docstrings say :func:`nmcore.select`, pages are written in Markdown."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`(?P<short>~?)(?P<name>[\w.]+)`")
LITERAL = re.compile(r"::$", re.MULTILINE)
# Several parameters that share a text and state no type: griffe would give all of them the first's.
SHARED = re.compile(r"^(?P<names>\w+(?:, \w+)+)\n(?P<text>(?: {4}.*\n?)+)", re.MULTILINE)


class Roles(griffe.Extension):
    """Rewrites the roles and the double colons of every docstring that is read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one module, class, function or attribute."""
        if obj.docstring is not None:
            text = ROLE.sub(lambda match: _link(match, obj), obj.docstring.value)
            obj.docstring.value = SHARED.sub(_apart, LITERAL.sub(":", text))


def _link(match: re.Match[str], obj: griffe.Object) -> str:
    """A link where the reference has the name, and the bare name where it has not."""
    name = match["name"]
    shown = name.rpartition(".")[2] if match["short"] else name
    return f'<autoref optional identifier="{_full(name, obj)}">`{shown}`</autoref>'


def _apart(match: re.Match[str]) -> str:
    """The same text for each parameter."""
    text = match["text"].rstrip("\n")
    entries = (f"{name}\n{text}" for name in match["names"].split(", "))
    return "\n".join(entries) + "\n"


def _full(name: str, obj: griffe.Object) -> str:
    """The name as the reference knows it: looked up from where it is used, aliases followed."""
    try:
        return obj.resolve(name)
    except griffe.NameResolutionError:
        return name
