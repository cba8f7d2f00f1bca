"""The benchmark of other synthetic inputs."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic

from nmcore.calibration import photographs
from nmcore.calibration.photographs import crops


def made(unseen=False):
    return photographs.crops(12, 3, (16, 16), unseen=unseen)


@pytest.mark.parametrize(
    ("name", "changed"), [("discs", 12), ("both", 6), ("mixed=1", 12), ("shrinkage=0", 0)]
)
def test_variants_change_what_layers_are_fitted_to(name, changed):
    usual, apart = made(), made(unseen=True)
    with synthetic.variant(name):
        differ = (made() != usual).any(axis=(1, 2, 3))
        assert differ.sum() == changed
        assert np.array_equal(made(unseen=True), apart)
    assert photographs.crops is crops


def test_fewer_photographs_are_cut_and_the_same_ones_kept_apart(monkeypatch):
    apart, cut, read = made(unseen=True), [], photographs._photograph
    monkeypatch.setattr(photographs, "_photograph", lambda name: cut.append(name) or read(name))
    with synthetic.variant("photographs=8"):
        photographs.crops(200, 3, (8, 8))
        assert len(set(cut)) == 8
        assert np.array_equal(made(unseen=True), apart)


def test_an_unknown_variant_is_told(tmp_path, capsys):
    model = tmp_path / "m.onnx"
    model.touch()
    with pytest.raises(SystemExit):
        synthetic.parse([str(model), "--macs", "0.5", "--data", "d.npz", "--variants", "cubes"])
    assert "there is no variant cubes" in capsys.readouterr().err
