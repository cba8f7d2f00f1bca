"""A third party adds a format by an entry point alone."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

import nmcore
from nmcore.errors import ModelError
from nmcore.group import Consumer, Cost, Group, Producer, Refit, Scaling
from nmcore.plugins import registry


@dataclass
class TwoLayers:
    """A model of a format of its own: ``w2 @ relu(w1 @ x)``."""

    w1: np.ndarray
    w2: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.w2 @ np.maximum(self.w1 @ x, 0)


@dataclass
class TwoLayersGraph:
    """The least a graph must offer to be compressed."""

    model: TwoLayers
    declined: list = field(default_factory=list)

    @property
    def groups(self):
        return [Group("hidden", len(self.model.w1), ["hidden"], ["out"])]

    def producers(self, group):
        return [Producer("hidden", self.model.w1)]

    def consumers(self, group):
        return [Consumer("out", self.model.w2[:, :, None])]

    def clone(self):
        return TwoLayersGraph(self.model)

    def update(self, group, index, change):
        if isinstance(change, Scaling):
            change = Refit(change.kept, *nmcore.absorb(self.model.w2[:, :, None], change))
        assert change.bias is None
        full = np.zeros_like(self.model.w2)
        full[:, change.kept] = change.weight[:, :, 0]
        self.model = TwoLayers(self.model.w1, full)

    def remove(self, group, kept):
        self.model = TwoLayers(self.model.w1[kept], self.model.w2[:, kept])

    def cost(self):
        return Cost(2, self.model.w1.size + self.model.w2.size)

    def result(self):
        return self.model

    def check(self):
        pass

    def fault(self):
        return None

    def size(self):
        return len(self.serialize())

    def serialize(self):
        return self.model.w1.tobytes() + self.model.w2.tobytes()


class Toy:
    """The object that the entry point names."""

    name = "toy"

    def accepts(self, model):
        return isinstance(model, TwoLayers)

    def open(self, model):
        return TwoLayersGraph(TwoLayers(model.w1, model.w2))


toy = Toy()


@pytest.fixture
def toy_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "toy_backend", sys.modules[__name__])
    entry = EntryPoint("toy", "toy_backend:toy", registry.ENTRY_POINT_GROUP)
    found = registry.offered()
    monkeypatch.setattr(registry, "offered", lambda: [*found, entry])


def test_third_party_backend_compresses(toy_installed):
    rng = np.random.default_rng(0)
    half = rng.standard_normal((4, 6))
    model = TwoLayers(np.concatenate([9 * half, half]), rng.standard_normal((3, 8)))
    result = nmcore.compress(model, ratio=0.5)
    assert result.model.w1.shape == (4, 6)
    assert model.w1.shape == (8, 6)
    x = rng.standard_normal(6)
    np.testing.assert_allclose(result.model(x), model(x))


def test_unknown_format_names_the_installed_backends():
    with pytest.raises(ModelError, match=r"type int is of no format .*onnx"):
        registry.open_graph(3)


def test_missing_file_and_directory(tmp_path):
    with pytest.raises(ModelError, match="does not exist"):
        registry.open_graph(tmp_path / "nothing.onnx")
    with pytest.raises(ModelError, match="is a directory"):
        registry.open_graph(tmp_path)


WITHOUT_ONNX = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("onnx", "onnxruntime", "onnx_ir", "nmcore_onnx", "nmcore_ort"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
import numpy as np
import nmcore
w = np.random.default_rng(0).standard_normal((8, 5))
kept = nmcore.select(w, 4)
scaling = nmcore.scaling_matrix(w, kept)
v, _ = nmcore.absorb(np.ones((3, 8)), scaling)
print(v.shape, scaling.Z.shape)
"""


def test_array_api_needs_neither_onnx_nor_onnxruntime():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ONNX], capture_output=True, text=True, check=False
    )
    assert done.stdout.split("\n")[0] == "(3, 4) (4, 8)", done.stderr


def test_core_imports_no_plugin_by_name():
    """The core finds plugins through entry points only."""
    root = Path(nmcore.__file__).parent
    for path in root.rglob("*.py"):
        lines = [line.strip() for line in path.read_text().splitlines()]
        imports = [line for line in lines if line.startswith(("import ", "from "))]
        for name in ("onnx", "onnx_ir", "onnxruntime", "nmcore_onnx", "nmcore_ort"):
            assert not [i for i in imports if i.split()[1].split(".")[0] == name], path


def test_public_names_are_no_modules():
    """A submodule of the same name would take its place as soon as anything imports it."""
    import pkgutil

    modules = {module.name for module in pkgutil.iter_modules(nmcore.__path__)}
    assert not modules & set(nmcore.__all__)
    assert callable(nmcore.absorb)
