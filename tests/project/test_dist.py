"""What would be published: a source distribution and a wheel. ``make dist`` installs it as well."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from email.parser import Parser
from importlib.machinery import PathFinder
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import nmcore
from pages import ROOT

LEFT_BEHIND = shutil.ignore_patterns(
    ".*", "__pycache__", "*.egg-info", "build", "dist", "site", "venv*"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Both, built from a copy, since building leaves files in the tree; without a network."""
    pytest.importorskip("build", reason="build is not installed: pip install '.[dev]'")
    folder = tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT, folder / "tree", ignore=LEFT_BEHIND)
    shutil.copytree(ROOT / ".ci", folder / "tree" / ".ci")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, folder / "tree"],
        cwd=folder, env=dict(os.environ, PYTHONPATH=""),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_wheel_has_every_module_and_nothing_else(wheel):
    packages = {"nmcore": ROOT, "nmcore_onnx": ROOT / "backends", "nmcore_ort": ROOT / "backends"}
    wanted = {
        str(path.relative_to(parent))
        for name, parent in packages.items()
        for path in (parent / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert found == wanted
    assert {
        "nmcore/report/html/style.css",
        "nmcore/plan/plan.schema.json",
        "nmcore/py.typed",
    } <= found


def test_wheel_says_what_it_is(wheel):
    (name,) = (each for each in wheel.namelist() if each.endswith(".dist-info/METADATA"))
    metadata = Parser().parsestr(wheel.read(name).decode())
    assert metadata["Name"] == "nmcore"
    assert metadata["Version"] == nmcore.__version__
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload().startswith("# nmcore")
    entry_points = wheel.read(name.replace("METADATA", "entry_points.txt")).decode()
    assert "nmcore = nmcore.cli:main" in entry_points
    assert any(each.endswith("LICENSE") for each in wheel.namelist())


def test_no_runtime_comes_unasked(wheel):
    """Wheels of onnxruntime overwrite each other's files: which one is for the user to say."""
    (name,) = (each for each in wheel.namelist() if each.endswith(".dist-info/METADATA"))
    needed = map(Requirement, Parser().parsestr(wheel.read(name).decode()).get_all("Requires-Dist"))
    runtimes = [each for each in needed if each.name.startswith("onnxruntime")]
    assert runtimes
    for each in runtimes:
        assert 'extra == "gpu"' in str(each.marker) or 'extra == "cpu"' in str(each.marker)
    for machine in ("x86_64", "arm64"):
        for extra in ("gpu", "cpu"):
            here = {"extra": extra, "platform_machine": machine, "sys_platform": "linux"}
            assert sum(each.marker.evaluate(here) for each in runtimes) == 1


def test_an_editable_install_works_from_the_folder_above(tmp_path):
    """There the checkout, if it is called nmcore, is a folder that Python could take for it."""
    tree = tmp_path / "nmcore"
    shutil.copytree(ROOT, tree, ignore=LEFT_BEHIND)
    code = f"from setuptools import build_meta; build_meta.build_editable({str(tmp_path)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tree, env=dict(os.environ, PYTHONPATH=""),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".pth"))
        (folder,) = archive.read(name).decode().split()
    assert PathFinder.find_spec("nmcore", [str(tmp_path)]).origin is None
    for package in ("nmcore", "nmcore_onnx", "nmcore_ort"):
        found = PathFinder.find_spec(package, [str(tmp_path), folder])
        assert found.origin is not None
        assert Path(found.origin).resolve().is_relative_to(tree)


def test_source_has_all_that_make_needs(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    for wanted in (
        "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "mkdocs.yml",
        "setup.cfg", ".ci/run", "benchmarks/accuracy/page.py", "docs/index.md",
        "docs/figures/walk-light.svg", "examples/fashion_mnist/lenet5.onnx",
        "tests/project/test_dist.py", "tests/helpers/pages.py", "nmcore/plan/plan.schema.json",
    ):  # fmt: skip
        assert wanted in found
    assert not [name for name in found if name.endswith(".pyc") or name.startswith("site/")]


def test_the_lower_bounds_are_those_that_are_tested():
    """tests/oldest.txt names the lower bound of everything that is installed for the tests."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    needed = setup["options"]["install_requires"], extras["gpu"], extras["test"]
    bounds = {}
    for line in filter(None, "\n".join(needed).splitlines()):
        requirement = Requirement(line)
        (lowest,) = (each.version for each in requirement.specifier if each.operator == ">=")
        bounds[requirement.name] = Version(lowest)
    pins = (ROOT / "tests/oldest.txt").read_text().splitlines()
    pairs = (line.split("==") for line in pins if not line.startswith("#"))
    assert {name: Version(version) for name, version in pairs} == bounds
