"""How long each part of a model takes, by onnxruntime's own profile."""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from numpy.typing import NDArray

from nmcore.errors import ModelError
from nmcore_ort.installation import onnxruntime
from nmcore_ort.providers import CPU, one_line

# Runs whose kernels are timed, after one that is not: as many as fit into the time.
MOST_RUNS, FEWEST_RUNS, SECONDS = 20, 2, 1.0
_KERNEL = "_kernel_time"
# What the optimiser puts around the name of the node, or of the value, that a kernel stands for.
_ADDED = re.compile(r"^fused |_nchwc$|_token_\d+$")


def profile(
    model: bytes | Path, feeds: Mapping[str, NDArray[Any]], threads: int
) -> Mapping[str, float]:
    """See :class:`nmcore.plugins.capabilities.Profiling`."""
    package = onnxruntime()
    with TemporaryDirectory() as folder:
        options = package.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = threads
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder, "profile"))
        source = model if isinstance(model, bytes) else str(model)
        try:
            session = package.InferenceSession(source, options, providers=[CPU])
            start, runs = time.perf_counter(), 0
            while runs <= FEWEST_RUNS or (
                runs <= MOST_RUNS and time.perf_counter() - start < SECONDS
            ):
                session.run(None, dict(feeds))
                runs += 1
            written = Path(session.end_profiling())
        except Exception as error:  # onnxruntime's exceptions share no narrower base class.
            raise ModelError(f"the model is not profiled: {one_line(error)}") from error
        events = json.loads(written.read_text(encoding="utf-8"))
    return _milliseconds(events)


def _milliseconds(events: list[dict[str, Any]]) -> dict[str, float]:
    """The median time of each kernel without its first run."""
    times: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL):
            times[event["name"].removesuffix(_KERNEL)].append(event["dur"] / 1000)
    found: dict[str, float] = defaultdict(float)
    for name, durations in times.items():
        found[_ADDED.sub("", name)] += median(durations[1:] or durations)
    return dict(found)
