"""Load, trace and rewrite damaged models by the thousand.

    python tests/fuzz/fuzz.py --inputs 200000 --json fuzz.json
    python tests/fuzz/fuzz.py --atheris FOLDER -max_total_time=600

The first is seeded and goes on after a stop; the second searches by coverage (``pip install
atheris``). Small real graphs are changed at random; each must give a clear error or a result. An
input that ends otherwise is told by its number: ``--only N`` runs it alone, ``--write FILE`` keeps
it.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "helpers")]

from mutate import mutated  # noqa: E402

import nmcore  # noqa: E402
from nmcore.errors import NmcoreError  # noqa: E402
from random_graphs import generate  # noqa: E402

GRAPHS = 60
SECONDS = 10
MEMORY = 2**31
# A child tries so many inputs, so that what one leaves behind cannot harm for long.
BATCH = 200
METHODS = ("merge", "prune", "ridge")


class Hang(BaseException):
    """An input takes too long; nothing that is caught on the way."""


@cache
def seeds() -> Sequence[bytes]:
    """Small real graphs to start from."""
    return [generate(number).model.SerializeToString() for number in range(GRAPHS)]


def input_of(number: int) -> bytes:
    """The damaged model of a number."""
    return mutated(seeds()[number % GRAPHS], number)


def attempt(data: bytes, method: str = "merge") -> str:
    """Load, trace and rewrite a model; ``result`` or ``error``, and anything else is raised."""
    with tempfile.TemporaryDirectory(dir=_memory_disk()) as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(data)
        try:
            nmcore.compress(path, ratio=0.5, method=method).save(path)
        except NmcoreError:
            return "error"
    return "result"


def _memory_disk() -> str | None:
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


def limited(number: int) -> tuple[str, str]:
    """How an input ends, and its traceback if it has one."""
    signal.signal(signal.SIGPROF, _too_long)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # of the processor: others may be at work too
    try:
        return attempt(input_of(number), METHODS[number % len(METHODS)]), ""
    except Hang:
        return "hang", traceback.format_exc()
    except MemoryError:
        return "memory", traceback.format_exc()
    except Exception:
        return "traceback", traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _too_long(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise Hang


def batch(numbers: range) -> list[dict[str, Any]]:
    """Try some inputs in a child; what kills it is blamed on the input that it was at."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        report.touch()
        child = os.fork()
        if child == 0:
            _child(numbers, report)
        _, status = os.waitpid(child, 0)
        records = [json.loads(line) for line in report.read_text().splitlines()]
    at = numbers.start + len(records)
    if at < numbers.stop:
        how = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "exit"
        records.append({"number": at, "how": "crash", "words": how})
        records += batch(range(at + 1, numbers.stop)) if at + 1 < numbers.stop else []
    return records


def _child(numbers: range, report: Path) -> NoReturn:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    gc.freeze()  # what was imported stays; looking at it again and again takes time
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with report.open("a") as file:
        for number in numbers:
            how, words = limited(number)
            print(json.dumps({"number": number, "how": how, "words": words}), file=file, flush=True)
    os._exit(0)


def run(first: int, count: int, kept: Path | None) -> Counter[str]:
    """Try inputs ``first`` to ``first + count``, going on from what is kept."""
    state: dict[str, Any] = {"done": first, "counts": {}, "bad": []}
    if kept is not None and kept.exists():
        state = json.loads(kept.read_text())
    counts = Counter(state["counts"])
    # Undamaged, a model must come through, or every input would end in the same harmless error;
    # and what it imports is then there in every child.
    if attempt(seeds()[0]) != "result":
        sys.exit("an undamaged model is not compressed: is nmcore installed here?")
    while state["done"] < first + count:
        numbers = range(state["done"], min(first + count, state["done"] + BATCH))
        for record in batch(numbers):
            counts[record["how"]] += 1
            if record["how"] not in ("result", "error"):
                state["bad"].append(record)
                last = (record["words"].strip().splitlines() or [""])[-1]
                print(f"{record['number']}: {record['how']}: {last}", file=sys.stderr, flush=True)
        state |= {"done": numbers.stop, "counts": dict(counts)}
        if kept is not None:
            kept.write_text(f"{json.dumps(state, indent=1)}\n")
    return counts


def guided(folder: Path, words: list[str]) -> None:
    """Let libFuzzer look for inputs that reach new code; what it finds is kept in ``folder``."""
    import atheris

    with atheris.instrument_imports(include=["nmcore", "nmcore_onnx"]):
        import nmcore_onnx  # noqa: F401

    def mutator(data: bytes, size: int, seed: int) -> bytes:
        changed = mutated(data, seed)
        return changed if len(changed) <= size else atheris.Mutate(data, size)

    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds()):
        (folder / f"seed_{number:03d}").write_bytes(data)
    arguments = [sys.argv[0], str(folder), "-max_len=100000", f"-timeout={SECONDS}", *words]
    atheris.Setup(arguments, lambda data: attempt(data) and None, custom_mutator=mutator)
    atheris.Fuzz()


def main() -> None:
    """Do what is asked for; the exit code says whether every input ended well."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=2_000, help="how many to try [2000]")
    parser.add_argument("--first", type=int, default=0, help="the number to begin with [0]")
    parser.add_argument("--json", type=Path, help="keep the counts here, and go on from them")
    parser.add_argument("--only", type=int, metavar="N", help="run one input, here")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write that input")
    parser.add_argument("--atheris", type=Path, metavar="FOLDER", help="search by coverage")
    options, rest = parser.parse_known_args()
    if options.atheris is not None:
        guided(options.atheris, rest)
    elif options.only is not None:
        data = input_of(options.only)
        if options.write is not None:
            options.write.write_bytes(data)
        print(attempt(data, METHODS[options.only % len(METHODS)]))
    else:
        counts = run(options.first, options.inputs, options.json)
        for how, count in counts.most_common():
            print(f"{count:9,d}  {how}")
        sys.exit(bool(set(counts) - {"result", "error"}))


if __name__ == "__main__":
    main()
