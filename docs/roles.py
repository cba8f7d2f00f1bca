"""Links for the reference: docstrings say :func:`nmcore.select`, pages are written in Markdown."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`(?P<short>~?)(?P<name>[\w.]+)`")
LITERAL = re.compile(r"::$", re.MULTILINE)


class Roles(griffe.Extension):
    """Rewrites the roles and the double colons of every docstring that is read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one module, class, function or attribute."""
        if obj.docstring is not None:
            linked = ROLE.sub(lambda match: _link(match, obj), obj.docstring.value)
            obj.docstring.value = LITERAL.sub(":", linked)


def _link(match: re.Match[str], obj: griffe.Object) -> str:
    """A link where the reference has the name, and the bare name where it has not."""
    name = match["name"]
    shown = name.rpartition(".")[2] if match["short"] else name
    return f'<autoref optional identifier="{_full(name, obj)}">`{shown}`</autoref>'


def _full(name: str, obj: griffe.Object) -> str:
    """The name as the reference knows it: looked up from where it is used, aliases followed."""
    try:
        return obj.resolve(name)
    except griffe.NameResolutionError:
        return name
