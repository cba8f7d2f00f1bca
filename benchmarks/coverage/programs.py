"""The programs that are compared, each run in a process of its own.

A crash or a hang of a program is a result like any other, never the end of the benchmark.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).parent
Record = dict[str, Any]


@dataclass(frozen=True)
class Done:
    """How a process ended: ``code`` is None where the time was up."""

    code: int | None
    stdout: str
    stderr: str
    seconds: float
    peak_mb: float

    @property
    def ended(self) -> str:
        """In words: fine, refused, crashed, timeout."""
        if self.code is None:
            return "timeout"
        if self.code == 0:
            return "fine"
        refused = self.code == 2 and "Traceback" not in self.stderr
        return "refused" if refused else "crashed"

    @property
    def last_words(self) -> str:
        """The last line of stderr."""
        lines = self.stderr.strip().splitlines()
        if self.code is not None and self.code < 0:
            return f"killed by {signal.Signals(-self.code).name}"
        return lines[-1][:300] if lines else (f"exit code {self.code}" if self.code else "")


def run_alone(command: list[str], limit: float, environment: dict[str, str] | None = None) -> Done:
    """Run a command with a time limit, and measure the most memory that it held."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=out, stderr=err, env={**os.environ, **(environment or {})}
        )
        code, peak = _wait(process, start + limit)
        seconds = time.perf_counter() - start
        said, complained = _text(out), _text(err)
    return Done(code, said, complained, round(seconds, 2), round(peak, 1))


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode(errors="replace")


def _wait(process: subprocess.Popen[bytes], deadline: float) -> tuple[int | None, float]:
    """Exit code and peak memory in MB; wait4 alone tells the memory of one process."""
    pause, late = 0.01, False
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            # Popen must not wait for a process that is already reaped.
            process.returncode = os.waitstatus_to_exitcode(status)
            unit = 2**20 if sys.platform == "darwin" else 2**10
            return None if late else process.returncode, usage.ru_maxrss / unit
        if time.perf_counter() > deadline and not late:
            process.kill()
            late = True
        time.sleep(pause)
        pause = min(2 * pause, 0.1)


def examined(before: Path, after: Path, limit: float) -> Record:
    """Examine a result in a process of its own; what kills that process is broken."""
    done = run_alone([sys.executable, str(HERE / "examine.py"), str(before), str(after)], limit)
    try:
        record: Record = json.loads(done.stdout.strip().splitlines()[-1])
        return record
    except (IndexError, ValueError):
        return {"loads": "broken", "problems": [f"examining it {done.ended}: {done.last_words}"]}


def nmcore(model: Path, folder: Path, ratio: float, method: str, limit: float) -> Record:
    """Compress with the command line, as a user would, and with the proof."""
    target, report = folder / "nmcore.onnx", folder / "report.json"
    command = [sys.executable, "-m", "nmcore", "compress", str(model), str(target)]
    command += ["--ratio", str(ratio), "--method", method, "--report", str(report)]
    command += ["--providers", "cpu"]
    done = run_alone([*command, "--verify"], limit)
    record: Record = {"verify": "ok" if done.ended == "fine" else "-"}
    if "VerificationError" in done.stderr:
        # Without the proof the file is written all the same, and the other columns say more.
        record = {"verify": "broken", "problems": [done.last_words]}
        done = run_alone(command, limit)
    record |= {"ended": done.ended, "seconds": done.seconds, "peak_mb": done.peak_mb}
    if done.ended != "fine":
        problems = [*record.get("problems", []), f"{done.ended}: {done.last_words}"]
        return record | {"problems": problems, "stderr": done.stderr[-4000:]}
    if "Warning" in done.stderr or "not known" in done.stderr:
        record["warnings"] = done.stderr[-2000:]
    return _joined(record | _account(report), examined(model, target, limit))


def _account(report: Path) -> Record:
    """What the report says of groups and of what was left alone."""
    data = json.loads(report.read_text())
    return {
        "groups": len(data["groups"]),
        "cut": sum(group["kept"] < group["width"] for group in data["groups"]),
        "declined": dict(Counter(place["reason"] for place in data["declined"]).most_common()),
        "declined_ops": dict(Counter(place["op"] for place in data["declined"]).most_common()),
    }


def _joined(record: Record, rest: Record) -> Record:
    problems = [*record.get("problems", []), *rest.pop("problems", [])]
    return record | rest | {"problems": problems}


def onnxsim(model: Path, folder: Path, ratio: float, method: str, limit: float) -> Record:
    """Let onnxsim's structured pruning remove the same share."""
    target = folder / "onnxsim.onnx"
    code = (
        "import sys; from pathlib import Path; from peers import onnxsim; "
        "onnxsim(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))"
    )
    done = run_alone(
        [sys.executable, "-c", code, str(model), str(target), str(ratio)],
        limit,
        {"PYTHONPATH": str(HERE.parent / "accuracy")},
    )
    record: Record = {"ended": done.ended, "seconds": done.seconds, "peak_mb": done.peak_mb}
    if done.ended != "fine" or not target.exists():
        return record | {"problems": [f"{done.ended}: {done.last_words}"]}
    return record | examined(model, target, limit)


def installed(program: str) -> bool:
    """Whether a program can be run here."""
    return find_spec(program) is not None


PROGRAMS = {"nmcore": nmcore, "onnxsim": onnxsim}
