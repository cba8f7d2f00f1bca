"""The public names are what they say, whatever was imported before."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import nmcore


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
    assert set(nmcore.__all__) <= set(dir(nmcore))
