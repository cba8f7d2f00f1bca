"""Export one model of each timm family, compress it, and tell the share of parameters that is left.

    pip install torch timm onnxscript
    python benchmarks/coverage/timm_families.py --json timm.json

Of every family (a module of timm) a model of few parameters is taken, with random weights: what
can be removed does not depend on what they hold. Each family has a process of its
own. With --ratio 0.5 a chain of layers keeps about a quarter of its parameters; what keeps more
than --most is told with the reasons for which its layers are left alone. The layer that makes the
classes keeps all of its outputs, which in a small model can be most of the parameters, so the share
is told without it, too.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import onnx

Record = dict[str, Any]

# Families without attention or token mixing, of which all but the classifier's outputs can be cut.
CONVOLUTIONAL = (
    *("byobnet", "cspnet", "densenet", "dla", "dpn", "efficientnet", "fasternet", "ghostnet"),
    *("hardcorenas", "hgnet", "hrnet", "inception_resnet_v2", "inception_v3", "inception_v4"),
    *("mobilenetv3", "nasnet", "nfnet", "pnasnet", "regnet", "repghost", "res2net", "resnest"),
    *("resnet", "resnetv2", "rexnet", "selecsls", "senet", "sknet", "tresnet", "vgg", "vovnet"),
    *("xception", "xception_aligned"),
)


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ratio", type=float, default=0.5, help="channels removed [0.5]")
    parser.add_argument("--method", default="merge", help="of nmcore [merge]")
    parser.add_argument("--most", type=float, default=0.55, help="tell reasons above [0.55]")
    parser.add_argument("--families", nargs="*", help="only these modules of timm [all]")
    parser.add_argument("--largest", type=float, default=40e6, help="parameters at most [40e6]")
    parser.add_argument("--dynamo", action="store_true", help="use torch's newer exporter")
    parser.add_argument("--limit", type=float, default=300, help="seconds for a family [300]")
    parser.add_argument("--json", type=Path, help="keep results here, and go on from them")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    return parser.parse_args(words)


# What names of small models hold, the smallest first.
SMALL = (
    *("atto", "femto", "pico", "xxs", "nano", "xxx_small", "xx_small", "x_small", "xs", "tiny"),
    *("mini", "micro", "small", "_s_", "_s", "s0", "b0", "18", "050", "075", "100"),
)
# So many candidates of a family are built to count their parameters.
CANDIDATES = 8


def smallest(family: str) -> tuple[str, int] | None:
    """Return the model with the fewest parameters among likely ones of a family, and how many."""
    import timm
    import torch

    def rank(name: str) -> tuple[int, int, str]:
        return next((k for k, word in enumerate(SMALL) if word in name), 99), len(name), name

    names = [name for name in timm.list_models(module=family) if not name.startswith("test_")]
    found = []
    for name in sorted(names, key=rank)[:CANDIDATES]:
        try:
            with torch.device("meta"):
                model = timm.create_model(name, pretrained=False)
        except Exception:  # needs real tensors to be built, or a package that is not here
            continue
        found.append((sum(p.numel() for p in model.parameters()), name))
    return (min(found)[1], min(found)[0]) if found else None


def export(name: str, path: Path, dynamo: bool) -> int:
    """Write a model of timm as ONNX, and return how many classes it tells apart."""
    import timm
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = timm.create_model(name, pretrained=False, exportable=True).eval()
    size = model.pretrained_cfg.get("input_size", (3, 224, 224))
    with torch.no_grad():
        torch.onnx.export(
            model, (torch.randn(1, *size),), str(path), dynamo=dynamo, input_names=["x"]
        )
    return int(model.num_classes)


def of_classes(model: onnx.ModelProto, classes: int) -> int:
    """The parameters of what makes the classes."""
    tensors = model.graph.initializer
    return sum(math.prod(each.dims) for each in tensors if classes in each.dims)


def work(family: str, options: argparse.Namespace) -> Record:
    """Export and compress the smallest model of a family."""
    import nmcore

    chosen = smallest(family)
    if chosen is None or chosen[1] > options.largest:
        return {"ended": "none small enough"}
    name, _ = chosen
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        try:
            classes = export(name, path, options.dynamo)
        except Exception as error:
            said = " ".join(f"{type(error).__name__}: {error}".split())
            return {"model": name, "ended": "not exported", "said": said[:200]}
        start = time.perf_counter()
        result = nmcore.compress(path, ratio=options.ratio, method=options.method, verify=True)
        seconds = time.perf_counter() - start
        heads = [of_classes(onnx.load(path), classes)]
        heads.append(of_classes(onnx.load_from_string(result.serialize()), classes))
    reasons = Counter(f"{each.op}: {each.reason}" for each in result.declined)
    return {
        "model": name,
        "ended": "compressed",
        "params": result.before.params,
        "share": result.after.params / result.before.params,
        "without classes": (result.after.params - heads[1]) / (result.before.params - heads[0]),
        "seconds": seconds,
        "reasons": reasons.most_common(4),
    }


def run(family: str, options: argparse.Namespace) -> Record:
    """Run a family in a process of its own."""
    command = [sys.executable, __file__, "--work", family, "--ratio", str(options.ratio)]
    command += ["--method", options.method, "--largest", str(options.largest)]
    command += ["--dynamo"] if options.dynamo else []
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=options.limit, check=False
        )
    except subprocess.TimeoutExpired:
        return {"ended": "timeout"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        said = done.stderr.strip().splitlines()
        return {"ended": "failed", "said": said[-1] if said else f"code {done.returncode}"}
    found: Record = json.loads(lines[-1])
    return found


def table(records: dict[str, Record], most: float) -> str:
    """Write the shares as Markdown, the largest first, and the reasons for large ones."""
    done = {family: r for family, r in records.items() if r["ended"] == "compressed"}
    lines = [
        "| family | model | parameters | kept | without the classes |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for family, record in sorted(done.items(), key=lambda item: -item[1]["share"]):
        kind = " (convolutional)" if family in CONVOLUTIONAL else ""
        # A file of an earlier form of this program does not tell the second share.
        shares = [record["share"], record.get("without classes")]
        told = ["" if share is None else f"{share:.3f}" for share in shares]
        figures = " | ".join([f"{record['params']:,}", *told])
        lines.append(f"| {family}{kind} | {record['model']} | {figures} |")
        if record["share"] > most:
            lines += [f"| | {count} x {reason} | | | |" for reason, count in record["reasons"]]
    others = [
        f"{f}: {r['ended']}. {r.get('said', '')}" for f, r in records.items() if f not in done
    ]
    return "\n".join([*lines, "", *others])


def main(words: list[str] | None = None) -> None:
    """Run every family and print the table."""
    options = parse(words)
    if options.work is not None:
        print(json.dumps(work(options.work, options)))
        return
    import timm

    records: dict[str, Record] = {}
    if options.json is not None and options.json.exists():
        records = json.loads(options.json.read_text())
    for family in options.families or timm.list_modules():
        if family not in records:
            records[family] = run(family, options)
            print(family, records[family], file=sys.stderr, flush=True)
            if options.json is not None:
                options.json.write_text(f"{json.dumps(records, indent=1)}\n")
    print(table(records, options.most))


if __name__ == "__main__":
    main()
