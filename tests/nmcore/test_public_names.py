"""The public names are what they say, whatever was imported before."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import typing

import pytest

import nmcore
from pages import ROOT


@pytest.mark.parametrize("name", nmcore.__all__)
def test_no_module_takes_the_place_of_a_public_name(name):
    """Importing ``package.name`` binds ``name`` in the package, over a function called so."""
    for module in pkgutil.iter_modules(nmcore.__path__):
        if module.name != "__main__":
            importlib.import_module(f"nmcore.{module.name}")
    assert callable(getattr(nmcore, name))


@pytest.mark.parametrize("name", nmcore.__all__)
def test_every_public_name_is_explained_by_an_example(name):
    found = getattr(nmcore, name)
    examples = doctest.DocTestFinder(recurse=False).find(found, name)
    assert sum(len(each.examples) for each in examples) > 0


def test_all_names_exist_and_are_listed():
    for module in pkgutil.walk_packages(nmcore.__path__, "nmcore."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    assert dir(nmcore) == sorted(nmcore.__all__)


@pytest.mark.parametrize("name", nmcore.__all__)
def test_type_hints_can_be_shown(name):
    """As a notebook does; names that are there for type checkers alone would not be found."""
    found = getattr(nmcore, name)
    function = found.__init__ if isinstance(found, type) else found
    assert typing.get_type_hints(function)["return"] is not None
    assert {*inspect.signature(found).parameters} <= {*typing.get_type_hints(function)}


def documented():
    """Every name that README and the reference say is there."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    found = re.findall(r"^::: (nmcore[\w.]*)", text, re.M)
    found += re.findall(r"`(nmcore(?:\.\w+)+)(?:\(\))?`", text)
    for module, names in re.findall(r"^from (nmcore[\w.]*) import ([\w, ]+)$", text, re.M):
        found += [f"{module}.{name.strip()}" for name in names.split(",")]
    return sorted({*found} - {"nmcore.backends"})  # the group of entry points


# Each as if it were the first import, since one may hide that another leads in a circle.
IMPORTING = """
import importlib, sys
for dotted in sys.argv[1:]:
    for name in [name for name in sys.modules if name.partition(".")[0] == "nmcore"]:
        del sys.modules[name]
    module, _, name = dotted.rpartition(".")
    try:
        exec(f"from {module} import {name}")
    except ImportError as error:
        print(dotted, error)
"""


def test_every_documented_name_is_where_the_pages_say():
    names = documented()
    assert {f"nmcore.{name}" for name in nmcore.__all__} <= {*names}
    assert len(names) > 40
    done = subprocess.run(
        [sys.executable, "-c", IMPORTING, *names], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
