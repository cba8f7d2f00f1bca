"""Nothing that runs opens a connection."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx

from small import small_network

# Audit hooks see sockets however they are made from Python, and nothing can take them off again.
BLOCKED = """
import os, sys
def refuse(event, _):
    if event.startswith(("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto")):
        print(f"network: {event}", file=sys.stderr, flush=True)
        os._exit(3)
sys.addaudithook(refuse)
from nmcore.cli import cli
cli(sys.argv[1:], prog_name="nmcore")
"""


def run(*words: object) -> str:
    """The command, with a network that does not exist."""
    program = [sys.executable, "-c", BLOCKED, *map(str, words)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "network" not in done.stdout + done.stderr
    return done.stdout


def test_no_command_opens_a_connection(tmp_path):
    model, small, data = tmp_path / "m.onnx", tmp_path / "s.onnx", tmp_path / "d.npz"
    onnx.save(small_network().build(), model)
    np.savez(data, x=np.zeros((4, 3, 8, 8), np.float32), y=np.zeros(4, int))
    assert "conv" in run("inspect", model).lower()
    run(*("compress", model, small, "--verify", "--samples", 8, "--report", tmp_path / "r.html"))
    assert small.exists()
    sweep = ("sweep", model, "--results", tmp_path / "r.json", "--method", "merge")
    assert "merge" in run(*sweep, "--jobs", 2)
    assert "top" in run("evaluate", model, small, "--data", data, "--runs", 1).lower()


def test_the_block_works():
    block, _ = BLOCKED.split("from nmcore")
    program = f"{block}import socket; socket.create_connection(('127.0.0.1', 9))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stderr.startswith("network: socket.")
