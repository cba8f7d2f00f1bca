"""One cell of a sweep: a compression and what it is measured by, as any process can do it."""

from __future__ import annotations

import hashlib
import json
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nmcore._version import __version__
from nmcore.data.preprocessing import NUMBERS
from nmcore.errors import ArgumentError, NmcoreError
from nmcore.evaluation.fidelity import fidelity
from nmcore.evaluation.inputs import data_for
from nmcore.evaluation.metrics.registry import MetricLike, metrics_of
from nmcore.options.options import CompressOptions
from nmcore.pipeline.compress import compress
from nmcore.pipeline.result import Result
from nmcore.plan import fingerprint
from nmcore.plan.plan import Source
from nmcore.plugins import registry
from nmcore.plugins.capabilities import gives_features
from nmcore.plugins.protocols import Graph
from nmcore.plugins.sized_session import sized
from nmcore.plugins.states import marked, serialized_alike, state_changes
from nmcore.sweeps.records import Record
from nmcore.utils.files import Draft

# Of a cell's digest, in the name of the file that it writes.
_DIGITS = 8


@dataclass(frozen=True)
class Cell:
    """One model, one method, one size.

    Attributes
    ----------
    model : Path or bytes
        The model's file; like all paths here absolute, as it may be read on another machine. Or its
        content.
    key : mapping
        All that the figures depend on; see :class:`nmcore.sweeps.records.Record`.
    data, evaluate_data : Path or None
        What is measured on and what is evaluated on.
    labels : Path or None
        A table of the classes of the latter, where it is a folder.
    folder : Path or None
        Where the result goes.
    metric : sequence of str or callable
        What is told of the result; empty where the form of the outputs decides.
    name : str
        What the model is called.
    """

    model: Path | bytes
    key: Mapping[str, Any]
    data: Path | None = None
    evaluate_data: Path | None = None
    labels: Path | None = None
    folder: Path | None = None
    metric: Sequence[MetricLike] = ()
    name: str = ""

    @cached_property
    def digest(self) -> str:
        """What tells this cell from all others; 255 and 255.0 are the same."""
        key = json.loads(json.dumps(self.key), parse_int=float)
        return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()

    @property
    def target(self) -> Path | None:
        """The file of the result; its name is no other cell's."""
        if self.folder is None:
            return None
        size = f"{self.key['budget']}{self.key['share']:g}"
        name = Path(self.name.replace(" ", "-"))
        words = (name.stem, self.key["method"], size, self.digest[:_DIGITS])
        return self.folder / f"{'-'.join(words)}{name.suffix or '.onnx'}"

    def record(self, **found: Any) -> Record:
        """What came of the cell, as a record."""
        axes = {name: self.key[name] for name in ("method", "budget", "share")}
        return Record(self.digest, self.name, **axes, key=self.key, **found)


def run(cell: Cell) -> Record:
    """Compress, write and evaluate; what goes wrong is recorded, so that other cells go on."""
    try:
        return cell.record(**_figures(cell))
    except NmcoreError as error:
        return cell.record(error=str(error))
    except MemoryError:
        return cell.record(error="out of memory")
    except Exception as error:
        return cell.record(error=on_one_line(error), traceback=traceback.format_exc())


def on_one_line(error: BaseException) -> str:
    """An error that nobody wrote for users, as a line.

    >>> on_one_line(KeyError("a"))
    "KeyError: 'a'"
    """
    return " ".join(f"{type(error).__name__}: {error}".split())


def _figures(cell: Cell) -> dict[str, Any]:
    key = cell.key
    if key["nmcore"] != __version__:
        raise ArgumentError(
            f"this worker has nmcore {__version__}; the sweep needs {key['nmcore']}"
        )
    options = dict(key["options"])
    if "keep" in options:
        options["keep"] = dict(options["keep"])
    result = compress(
        cell.model,
        method=key["method"],
        data=cell.data,
        **{key["budget"]: key["share"]},
        **options,
    )
    _check_source(cell.name, result.plan.model, key["model_sha256"])
    _check_source(cell.data, result.plan.data, key["data_sha256"])
    if cell.evaluate_data is not None:
        found_here = fingerprint.of_labelled(cell.evaluate_data, cell.labels)
        _check_source(cell.evaluate_data, found_here, key["evaluate_sha256"])
    with _drafted(result, cell.target) as draft:
        found = {
            "params_before": result.before.params,
            "params": result.after.params,
            "macs_before": result.before.macs,
            "macs": result.after.macs,
            "bytes_before": result.size,
            "bytes": draft.size(),
            **_evaluated(cell, draft, result.graph),
        }
        if cell.target is not None:
            draft.publish(keep=result.original.data_files if result.original else ())
    return found


def _check_source(path: Path | str | None, source: Source | None, sha256: str | None) -> None:
    """A worker of another machine may see another file by the same name."""
    if path is not None and source is not None and source.sha256 != sha256:
        raise ArgumentError(f"{path} is not the file here that it was where the sweep began")


@contextmanager
def _drafted(result: Result, target: Path | None) -> Iterator[Draft]:
    """The result as files, beside its target; somewhere else where there is none."""
    with (
        nullcontext() if target else TemporaryDirectory() as folder,
        result.draft(target or Path(str(folder), "model.onnx")) as draft,
    ):
        yield draft


def _evaluated(cell: Cell, draft: Draft, graph: Graph) -> dict[str, Any]:
    """How the result compares with the original; it is loaded in any case."""
    options = cell.key["options"]
    how = {"providers": options.get("providers", ("auto",))}
    runtime = registry.runtime()
    after = runtime.session(draft.path, **how)
    if cell.evaluate_data is None:
        return {}
    if state_changes(graph):  # which data of the original does not fit
        after = runtime.session(serialized_alike(graph), **how)
    before = marked(sized(runtime.session(cell.model, **how), options.get("input_shape")), graph)
    stated = {name: options[name] for name in (*NUMBERS, "preprocess") if name in options}
    steps = CompressOptions.checked(**stated).normalisation
    given = data_for(before, cell.evaluate_data, steps, labels=cell.labels)
    features, asked = gives_features(graph), metrics_of(cell.metric)
    found = fidelity(before, after, given, features=features, asked=asked)
    return {
        "n": found.n,
        "top1_before": found.top1_before,
        "top1": found.top1_after,
        "agreement": found.agreement,
        "deviation": found.deviation,
        "metrics": found.metrics,
        "metrics_before": found.before,
        "told": found.told,
        "lost": found.lost,
    }
