"""``nmcore compress --states``."""

from __future__ import annotations

import onnx

from stepwise import written_out


def test_the_command_line(run, tmp_path):
    before, after = tmp_path / "m.onnx", tmp_path / "s.onnx"
    onnx.save(written_out(), before)
    told = run("compress", before, after, "--ratio", "0.5", "--method", "merge", "--states")
    assert "the output next is a state of shape (n, 3, 2) now, not (n, 6, 2)" in told.stdout
    compared = run("evaluate", before, after)
    assert "of different shapes, and zero for all models: the state state" in compared.stderr
    assert "64 synthetic inputs" in compared.stdout
