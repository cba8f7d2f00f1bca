"""One measurement: compress and evaluate by command line.

Every figure comes from two commands that anybody can type, ``nmcore compress`` and ``nmcore
evaluate --json``.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import onnx
from arguments import results_file
from others import PEERS
from store import Result, Store, digest

import nmcore

MEASURES = ("n", "top1", "params", "macs", "bytes")
# They look at weights alone, so they are told neither inputs nor how these are normalised.
WITHOUT_INPUTS = ("prune", "merge", "ridge", "nmf")

# Of a quick look: test images, and inputs to measure moments on.
QUICK_SAMPLES, QUICK_INPUTS = 1000, 64

FASHION_MNIST = ("--scale", "255", "--mean", "0.5", "--std", "0.5")
CIFAR10 = (
    *("--scale", "255", "--mean", "0.4914", "0.4822", "0.4465"),
    *("--std", "0.2023", "0.1994", "0.2010"),
)


@dataclass(frozen=True)
class Trial:
    """A model, compressed by a method; as it is without one.

    Parameters
    ----------
    model : Path
        The file.
    method : str
        One of ``nmcore compress --method``, with ``+data`` behind it where it gets calibration
        inputs, or one of :data:`others.PEERS`, whose ``options`` are the share of channels to
        remove.
    options : tuple of str
        More options of ``nmcore compress``.
    plan : Path or None
        A plan that says which channels stay.
    """

    model: Path
    method: str = ""
    options: tuple[str, ...] = ()
    plan: Path | None = None


class Judge(Protocol):
    """Says how good a model is."""

    def key(self) -> dict[str, Any]:
        """Return all that the judgement depends on, besides the model."""

    def evaluate(self, model: Path) -> Result:
        """Return what the judge finds, with the counts of :func:`cost`."""


@dataclass(frozen=True)
class TestSet:
    """Top-1 on a labelled data set.

    Parameters
    ----------
    data : Path
        An .npz with ``x`` and ``y``.
    preparation : sequence of str
        ``--scale``, ``--mean`` and ``--std`` of the network.
    samples : int or None
        Use the first of the data only.
    """

    data: Path
    preparation: Sequence[str]
    samples: int | None = None

    def key(self) -> dict[str, Any]:
        """Return the digest of the data and how much of it is used."""
        return {"data_sha256": digest(self.data), "samples": self.samples}

    def evaluate(self, model: Path) -> Result:
        """Return top-1, parameters and MACs of a file."""
        options = ["--data", str(self.data), *self.preparation, "--runs", "1", "--json"]
        if self.samples is not None:
            options += ["--samples", str(self.samples)]
        (result,) = json.loads(run_nmcore("evaluate", str(model), *options))
        kept = {name: result[name] for name in MEASURES}
        return kept | {"trained": result["params"] - running_statistics(model)}


@dataclass(frozen=True)
class Bench:
    """Runs trials before one judge.

    Parameters
    ----------
    judge : Judge
        Evaluates what comes out.
    preparation : sequence of str
        ``--scale``, ``--mean`` and ``--std`` of the network.
    calibration : Path or None
        An .npz, or a folder of pictures, that shares nothing with what the judge looks at.
    store : Store
        Where results are kept.
    inputs : int or None
        On how many inputs moments are measured, if not on nmcore's usual number.
    """

    judge: Judge
    preparation: Sequence[str]
    calibration: Path | None = None
    store: Store = field(default_factory=Store)
    inputs: int | None = None

    def run(self, trial: Trial, cell: Mapping[str, str] | None = None) -> Result:
        """Return what the judge says of one trial, from memory if that is known."""
        command = self.command(trial)
        key = {
            "command": command,
            "preparation": shlex.join(self.preparation),
            "nmcore": nmcore.__version__,
            "model_sha256": digest(trial.model),
            "calibration_sha256": self._calibration_digest(trial),
            **self.judge.key(),
        }
        if trial.plan is not None:
            key["plan_sha256"] = digest(trial.plan)
        title = {"command": command or f"{trial.model.name} as it is"}
        return self.store.once(cell or title, key, lambda: self._measure(trial))

    def command(self, trial: Trial) -> str:
        """What a user would type; the model as it is has none. Folders are left out."""
        if not trial.method:
            return ""
        if trial.method in PEERS:
            return shlex.join([trial.method, trial.model.name, "OUT", *trial.options])
        words = ["nmcore", "compress", trial.model.name, "OUT", *self._words(trial)]
        given = {str(path) for path in (self.calibration, trial.plan) if path is not None}
        return shlex.join(Path(word).name if word in given else word for word in words)

    def _words(self, trial: Trial) -> list[str]:
        name, _, data = trial.method.partition("+")
        words = ["--method", name, *trial.options]
        words += [] if trial.plan is None else ["--plan", str(trial.plan)]
        if data:
            words += ["--data", str(self.calibration)]
        if name not in WITHOUT_INPUTS:
            words += self.preparation
            words += [] if self.inputs is None else ["--samples", str(self.inputs)]
        return words

    def _calibration_digest(self, trial: Trial) -> str | None:
        if not trial.method.endswith("+data"):
            return None
        if self.calibration is None:
            sys.exit(f"{trial.method} needs --calibration")
        return digest(self.calibration)

    def _measure(self, trial: Trial) -> Result:
        with tempfile.TemporaryDirectory() as folder:
            model = trial.model
            if trial.method in PEERS:
                model = Path(folder) / trial.model.name
                PEERS[trial.method](trial.model, model, float(trial.options[0]))
            elif trial.method:
                model = Path(folder) / trial.model.name
                run_nmcore("compress", str(trial.model), str(model), *self._words(trial))
            return self.judge.evaluate(model)


def bench_of(options: argparse.Namespace, preparation: Sequence[str]) -> Bench:
    """Return the bench that a command line asks for."""
    if options.calibration and digest(options.calibration) == digest(options.data):
        sys.exit("--calibration must not be the test set")
    samples, inputs = (QUICK_SAMPLES, QUICK_INPUTS) if options.quick else (None, None)
    judge = TestSet(options.data, preparation, samples)
    return Bench(judge, preparation, options.calibration, Store(results_file(options)), inputs)


def cost(model: Path) -> Result:
    """Count parameters, all and those that are trained, and MACs of a file."""
    found = json.loads(run_nmcore("inspect", str(model), "--json"))
    params = found["params"]
    trained = params - running_statistics(model)
    return {"params": params, "macs": found["macs"], "trained": trained}


def run_nmcore(*words: str) -> str:
    """What the program prints; where it fails, so does the benchmark, with the program's words."""
    done = subprocess.run(
        [sys.executable, "-m", "nmcore", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        sys.exit(f"{shlex.join(['nmcore', *words])}: {last.removeprefix('nmcore: ')}")
    return done.stdout


@cache
def groups(model: Path) -> list[tuple[str, int]]:
    """Name and width of each group of channels, from the input to the output.

    Those that several weights make together, such as residual sums, are left out: the paper does
    not touch them.
    """
    found = json.loads(run_nmcore("inspect", str(model), "--json"))["groups"]
    return [(each["name"], each["width"]) for each in found if len(each["producers"]) == 1]


def running_statistics(model: Path) -> int:
    """How many of a model's numbers are means and variances of batch norms.

    They are not trained, so papers do not count them among the parameters.
    """
    graph = onnx.load(model, load_external_data=False).graph
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    norms = (node for node in graph.node if node.op_type == "BatchNormalization")
    return sum(sizes.get(name, 0) for node in norms for name in node.input[3:5])
