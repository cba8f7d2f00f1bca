"""Disks that fill up, Ctrl-C, and numbers that no machine has."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys

import pytest

import nmcore
from nmcore.errors import ArgumentError


@contextlib.contextmanager
def room_for(count: int):
    """Files cannot grow beyond so many bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on files")
@pytest.mark.parametrize("external_data", [False, True])
@pytest.mark.parametrize("count", [0, 1000])
def test_a_full_disk(model, tmp_path, external_data, count):
    target = tmp_path / "small.onnx"
    target.write_bytes(b"old")
    result = nmcore.compress(model, ratio=0.0)
    with room_for(count), pytest.raises(ArgumentError, match=r"small\.onnx cannot be written: "):
        result.save(target, external_data=external_data)
    assert target.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["model.onnx", "small.onnx"]
    result.save(target, external_data=external_data)
    assert target.read_bytes() != b"old"


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to another process")
def test_control_c_ends_it_in_a_line(model):
    """Exit code 130 is what a shell expects of it."""
    words = ("bench", "latency", str(model), "--runs", "100000000")
    child = subprocess.Popen(
        [sys.executable, "-c", _ANNOUNCING, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout.readline() == b"running\n"
    child.send_signal(signal.SIGINT)
    output, errors = child.communicate(timeout=30)
    assert child.returncode == 130
    assert errors.strip() == b"nmcore: interrupted"
    assert output == b""


# Says when the model has started to run.
_ANNOUNCING = """
import sys
from nmcore.evaluation import latency
from nmcore.cli import cli
measure = latency.time_sessions
def announced(*arguments, **options):
    print("running", flush=True)
    return measure(*arguments, **options)
latency.time_sessions = announced
cli(sys.argv[1:], prog_name="nmcore")
"""


def test_threads_and_sizes_that_no_machine_has(fails, model, data):
    message = fails("evaluate", model, "--data", data, "--threads", 9999)
    assert message.startswith("threads is 9999; this machine can use at most ")
    message = fails("bench", "kernels", "--size", "100000000x100000000,7", "--no-memory")
    assert "need more than" in message
