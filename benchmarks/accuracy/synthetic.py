"""Compress a model without data on other synthetic inputs than the default's, and tell its top-1.

    python benchmarks/accuracy/synthetic.py lenet5_bn.onnx --ratio 0.5 --data fashion_test.npz \
        --scale 255 --mean 0.2860 --std 0.3530 --seeds 0 1 2 --json synthetic.json

What is told is top-1 on inputs with classes, which no model was measured on. Variants are the
default, discs instead of photographs, half of both, fewer photographs, a share of crops that hold a
rectangle of another one (CutMix: S. Yun et al., ICCV 2019), crops of the same colour and light as
their photographs, so many crops, another shrinkage, and another weight of late layers' errors.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from arguments import Parser, existing

import nmcore
from nmcore.calibration import dead_leaves, photographs
from nmcore.compression import output_error, shrinkage

VARIANTS = (
    *("default", "discs", "both", "photographs=8", "photographs=16", "photographs=32"),
    *("mixed=0.5", "unvaried"),
    *("crops=256", "crops=512", "crops=1024", "crops=2048", "crops=4096"),
    *("shrinkage=0", "shrinkage=0.03", "shrinkage=0.3"),
    *("late=1", "late=2", "late=8"),
)
Crops = Callable[..., photographs.Float32Array]


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=existing)
    parser.add_argument("--data", type=Path, required=True, help="inputs with classes")
    parser.add_argument("--labels", type=existing, metavar="FILE.csv", help="classes of a folder")
    share = parser.add_mutually_exclusive_group(required=True)
    share.add_argument("--macs", type=float, help="share of the MACs to keep")
    share.add_argument("--ratio", type=float, help="share of the channels to remove")
    parser.add_argument("--preprocess")
    parser.add_argument("--scale", type=float)
    parser.add_argument("--mean", type=float, nargs="+")
    parser.add_argument("--std", type=float, nargs="+")
    parser.add_argument("--variants", nargs="+", default=VARIANTS, help="of these only")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--json", type=Path, help="keep results here, and go on from them")
    options = parser.parse_args(words)
    for each in options.variants:
        if re.sub(r"=.*", "", each) not in {v.split("=")[0] for v in VARIANTS}:
            parser.error(f"there is no variant {each}; there are {', '.join(VARIANTS)}")
    return options


@contextmanager
def replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    """Another value of a module's attribute for a while."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def with_discs(crops: Crops, every: int) -> Crops:
    """Overlapping discs instead of every so manieth crop that layers are fitted to."""

    def made(
        count: int, channels: int, size: Sequence[int], *, seed: int = 0, unseen: bool = False
    ) -> photographs.Float32Array:
        pictures = crops(count, channels, size, seed=seed, unseen=unseen)
        if not unseen:
            discs = dead_leaves.dead_leaves(count, channels, size, seed=seed)
            pictures[::every] = discs[::every]
        return pictures

    return made


def with_rectangles(crops: Crops, share: float) -> Crops:
    """A share of the crops that layers are fitted to hold a fifth to three fifths of another."""

    def made(
        count: int, channels: int, size: Sequence[int], *, seed: int = 0, unseen: bool = False
    ) -> photographs.Float32Array:
        pictures = crops(count, channels, size, seed=seed, unseen=unseen)
        rng = np.random.default_rng(seed + 1)
        others = pictures[rng.permutation(count)]
        for picture, other in zip(pictures, others, strict=True):
            if unseen or rng.random() >= share:
                continue
            side = np.sqrt(rng.uniform(0.2, 0.6))
            high, wide = (max(1, round(side * length)) for length in size)
            top, left = rng.integers(size[0] - high + 1), rng.integers(size[1] - wide + 1)
            place = np.s_[:, top : top + high, left : left + wide]
            picture[place] = other[place]
        return pictures

    return made


def fewer(count: int) -> Callable[[], list[str]]:
    """So many of the photographs that layers are fitted to, and all that are kept apart."""
    names, every = photographs.names_of_photographs(), photographs.UNSEEN_EVERY
    fitted = [name for k, name in enumerate(names) if k % every]
    chosen = np.random.default_rng(0).permutation(len(fitted))[:count]
    taken = [fitted[k] for k in sorted(chosen)]
    # Those kept apart are told by their place, so the others are repeated.
    turns = iter(range(len(names)))
    shown = [n if k % every == 0 else taken[next(turns) % len(taken)] for k, n in enumerate(names)]
    return lambda: shown


@contextmanager
def variant(name: str) -> Iterator[dict[str, Any]]:
    """Make synthetic inputs otherwise for a while; yields options of ``nmcore.compress``."""
    kind, _, value = name.partition("=")
    if kind in ("discs", "both"):
        crops = with_discs(photographs.crops, 1 if kind == "discs" else 2)
        with replaced(photographs, "crops", crops):
            yield {}
    elif kind == "mixed":
        with replaced(photographs, "crops", with_rectangles(photographs.crops, float(value))):
            yield {}
    elif kind == "photographs":
        with replaced(photographs, "names_of_photographs", fewer(int(value))):
            yield {}
    elif kind == "unvaried":
        with replaced(photographs, "VARIED", ()):
            yield {}
    elif kind == "late":
        with replaced(output_error, "LATE_SYNTHETIC", float(value)):
            yield {}
    elif kind == "shrinkage":
        with replaced(shrinkage, "SYNTHETIC", float(value)):
            yield {}
    else:
        yield {"samples": int(value)} if kind == "crops" else {}


def top1(options: argparse.Namespace, name: str, seed: int) -> float:
    """Compress without data, and judge."""
    stated = {word: getattr(options, word) for word in ("preprocess", "scale", "mean", "std")}
    prepared = {word: value for word, value in stated.items() if value is not None}
    amount = {"macs": options.macs} if options.ratio is None else {"ratio": options.ratio}
    with variant(name) as others:
        result = nmcore.compress(
            str(options.model), **amount, **prepared, **others, seed=seed, providers=("cpu",)
        )
    judged = nmcore.evaluate(
        [result.serialize()],
        str(options.data),
        labels=options.labels,
        **prepared,
        runs=1,
        providers=("cpu",),
    )
    accuracy = judged[0].top1
    if accuracy is None:
        sys.exit(f"{options.data} holds no classes")
    return float(accuracy)


def table(found: dict[str, float], variants: Sequence[str], seeds: Sequence[int]) -> str:
    """A row for each variant, with the mean and the standard deviation over seeds."""
    lines = ["| synthetic inputs | top-1 | over seeds |", "| --- | ---: | ---: |"]
    for name in variants:
        values = [found[f"{name} {seed}"] for seed in seeds]
        spread = f"{stdev(values):.2f}" if len(values) > 1 else ""
        lines.append(f"| {name} | {mean(values):.2f} | {spread} |")
    return "\n".join(lines)


def main(words: list[str] | None = None) -> None:
    """Measure every variant with every seed."""
    options = parse(words)
    found: dict[str, float] = {}
    if options.json is not None and options.json.exists():
        found = json.loads(options.json.read_text())
    for name in options.variants:
        for seed in options.seeds:
            key = f"{name} {seed}"
            if key not in found:
                found[key] = top1(options, name, seed)
                print(f"{key}: {found[key]:.2f}", file=sys.stderr, flush=True)
                if options.json is not None:
                    options.json.write_text(f"{json.dumps(found, indent=1)}\n")
    print(table(found, options.variants, options.seeds))


if __name__ == "__main__":
    main()
