"""Export small transformers in the forms they are shipped in, compress them, and tell what is left.

    pip install torch transformers onnxscript
    python benchmarks/coverage/transformer_exports.py --json transformers.json

Each model of :mod:`transformer_models` is written by torch's older exporter, by its newer one, and
by the newer one with the operators of opset 23 (Attention, RMSNormalization, RotaryEmbedding); the
first two also through onnxruntime's transformer optimiser, which fuses operators, and the first as
onnxruntime itself writes it with extended optimisations. Each is compressed at --ratio with
--method merge, --states and --verify; decoders whose names end in past need --states. Told is the
share of the float parameters outside embeddings that is left: embeddings are tables with an entry
for each word or place, output projections among them. What keeps more than --most is told with the
reasons for which its layers are left alone. Each model has a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from transformer_models import MODELS, PAST, PLACES, WORDS, Example

Record = dict[str, Any]
FORMS = ("older", "newer", "opset 23", "older, fused", "newer, fused", "older, optimised")


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ratio", type=float, default=0.5, help="channels removed [0.5]")
    parser.add_argument("--method", default="merge", help="of nmcore [merge]")
    parser.add_argument("--most", type=float, default=0.55, help="tell reasons above [0.55]")
    parser.add_argument("--models", nargs="*", default=list(MODELS), help="only these [all]")
    parser.add_argument("--forms", nargs="*", default=list(FORMS), help="only these [all]")
    parser.add_argument("--limit", type=float, default=600, help="seconds for a model [600]")
    parser.add_argument("--json", type=Path, help="keep results here, and go on from them")
    parser.add_argument("--keep", type=Path, help="keep the exported files in this folder")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    return parser.parse_args(words)


def export(example: Example, path: Path, form: str) -> None:
    """Write a network as ONNX; batch and lengths of text are left open."""
    import torch

    names = list(example.inputs)

    class Wrapped(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = example.network

        def forward(self, *given: Any) -> Any:
            found = self.network(**dict(zip(names, given, strict=True)))
            return tuple(found[name] for name in example.outputs)

    newer = not form.startswith("older")
    opened = {
        name: {0: "batch", 1: f"{name}_length"} if value.dim() == 2 else {0: "batch"}
        for name, value in example.inputs.items()
    }
    if "attention_mask" in opened:
        opened["attention_mask"] = opened["input_ids"]
    if "token_type_ids" in opened:
        opened["token_type_ids"] = opened["input_ids"]
    for name in (name for name in names if name.startswith(PAST)):
        opened[name] = {0: "batch", 2: "past_length"}
        opened["attention_mask"] = {0: "batch", 1: "past_length + input_ids_length"}
    with torch.no_grad():
        torch.onnx.export(
            Wrapped().eval(),
            tuple(example.inputs.values()),
            str(path),
            dynamo=newer,
            input_names=names,
            output_names=list(example.outputs),
            dynamic_axes=None if newer else opened,
            opset_version=23 if form == "opset 23" else 18 if newer else 17,
            external_data=False,
        )


def fuse(example: Example, path: Path) -> None:
    """Put a file through onnxruntime's transformer optimiser."""
    from onnxruntime.transformers.optimizer import optimize_model

    made = optimize_model(
        str(path), example.kind, num_heads=example.heads, hidden_size=example.width, opt_level=0
    )
    made.save_model_to_file(str(path))


def optimise(path: Path) -> None:
    """Replace a file by what onnxruntime makes of it before it runs it on a processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    made = path.with_suffix(".optimised.onnx")
    options.optimized_model_filepath = str(made)
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    made.replace(path)


def shared_params(path: Path) -> tuple[int, Counter[str]]:
    """Float parameters outside embeddings, and how often each operator of other domains occurs."""
    import onnx

    model = onnx.load(path)
    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    constants = [*model.graph.initializer]
    constants += [
        attribute.t
        for node in model.graph.node
        for attribute in node.attribute
        if node.op_type == "Constant" and attribute.name == "value"
    ]
    total = 0
    for tensor in constants:
        size = 1
        for length in tensor.dims:
            size *= length
        table = len(tensor.dims) > 1 and not {WORDS, PLACES}.isdisjoint(tensor.dims)
        total += size if tensor.data_type in kinds and not table else 0
    return total, Counter(node.op_type for node in model.graph.node if node.domain)


def tell(path: Path, options: argparse.Namespace) -> Record:
    """Compress a file; ``share`` is what is left of the float parameters outside embeddings."""
    import nmcore

    before, fused = shared_params(path)
    record: Record = {"params": before, "fused": dict(fused)}
    try:
        result = nmcore.compress(
            path,
            ratio=options.ratio,
            method=options.method,
            states=True,
            verify=True,
            providers=("cpu",),
            threads=1,
        )
    except nmcore.NmcoreError as error:
        return {**record, "ended": "refused", "said": str(error)[:300]}
    small = path.with_suffix(".small.onnx")
    result.save(small)
    reasons = Counter(f"{each.op}: {each.reason}" for each in result.declined)
    share = shared_params(small)[0] / before
    return {**record, "ended": "compressed", "share": share, "reasons": reasons.most_common(12)}


def build(name: str, form: str) -> Example:
    """A network with the same random weights for each form."""
    import torch

    torch.manual_seed(0)
    example = MODELS[name]()
    with torch.no_grad():  # trained tables and norms are neither equal to others nor all zeros
        for weight in example.network.parameters():
            weight += 0.02 * torch.randn_like(weight)
    if "fused" in form or "optimised" in form:  # optimisers know attention that is written out
        example.network.set_attn_implementation("eager")
    return example


def work(name: str, options: argparse.Namespace) -> Record:
    """Export and compress all forms of a model."""
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    records: Record = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        for form in options.forms:
            path = folder / f"{name}-{form.replace(', ', '-').replace(' ', '-')}.onnx"
            example = build(name, form)
            try:
                export(example, path, form)
                if "fused" in form:
                    fuse(example, path)
                if "optimised" in form:
                    optimise(path)
            except Exception as error:
                said = " ".join(f"{type(error).__name__}: {error}".split())
                records[form] = {"ended": "not exported", "said": said[:200]}
                continue
            records[form] = tell(path, options)
    return records


def run(name: str, options: argparse.Namespace) -> Record:
    """Run a model in a process of its own."""
    command = [sys.executable, __file__, "--work", name, "--ratio", str(options.ratio)]
    command += ["--method", options.method, "--forms", *options.forms]
    command += ["--keep", str(options.keep)] if options.keep else []
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=options.limit, check=False
        )
    except subprocess.TimeoutExpired:
        return {form: {"ended": "timeout"} for form in options.forms}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        said = done.stderr.strip().splitlines()
        failed = {"ended": "failed", "said": said[-1] if said else f"code {done.returncode}"}
        return dict.fromkeys(options.forms, failed)
    found: Record = json.loads(lines[-1])
    return found


def table(records: dict[str, Record], most: float) -> str:
    """Write the shares as Markdown, with the reasons for large ones below."""
    forms = [form for form in FORMS if any(form in record for record in records.values())]
    lines = [f"| model | {' | '.join(forms)} |", f"| --- |{' ---: |' * len(forms)}"]
    notes = []
    for name, record in records.items():
        cells = []
        for form in forms:
            found = record.get(form, {"ended": "not run"})
            done = found["ended"] == "compressed"
            cells.append(f"{found['share']:.3f}" if done else found["ended"])
            if not done:
                notes.append(f"{name}, {form}: {found['ended']}. {found.get('said', '')}")
            elif found["share"] > most:
                why = "; ".join(f"{count} x {reason}" for reason, count in found["reasons"])
                notes.append(f"{name}, {form}: {why}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *notes])


def main(words: list[str] | None = None) -> None:
    """Run every model and print the table."""
    options = parse(words)
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
    if options.work is not None:
        print(json.dumps(work(options.work, options)))
        return
    records: dict[str, Record] = {}
    if options.json is not None and options.json.exists():
        records = json.loads(options.json.read_text())
    for name in options.models:
        missing = [form for form in options.forms if form not in records.get(name, {})]
        if not missing:
            continue
        found = run(name, argparse.Namespace(**{**vars(options), "forms": missing}))
        records[name] = {**records.get(name, {}), **found}
        print(name, found, file=sys.stderr, flush=True)
        if options.json is not None:
            options.json.write_text(f"{json.dumps(records, indent=1)}\n")
    print(table(records, options.most))


if __name__ == "__main__":
    main()
