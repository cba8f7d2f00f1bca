"""Write docs/results.md and its pictures from the JSON of the other commands.

    python benchmarks/accuracy/page.py docs/results docs/results.md

Nothing on the page is typed by hand but the prose of this file; a table whose JSON is not in the
folder is left out and said to be.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from arguments import Parser, folder
from delivery import Outcome, save
from store import Record, load
from verdicts import sentence

from nmcore.utils.files import atomic_write

HEAD = """# The paper's tables, re-run

<!-- Written by benchmarks/accuracy/page.py from docs/results/*.json. -->

Every figure is top-1 in percent on a full test set, nothing retrained, unless its table says
otherwise. *prune* and *merge* are the paper's, with its criterion, widths, lam and threshold.
*moments* is this project's own method without any data, *moments+data* the same with 256 unlabelled
training images; both choose channels by the error they leave, so their figures do not depend on the
criterion of a row. *moments* is shown [crops of photographs](how-it-works.md#synthetic-inputs) that
come with the package. Calibration images are never test images. An empty cell was not measured
here; its command fills it.

Each command below keeps what is finished in its JSON file, goes on from there after a stop, and
writes a Markdown table and a picture beside it. `--quick` shows in less than two minutes that it
runs. All of them want `pip install '.[report]'` and no network; what they read is named by
`path/to/`.
"""

DIFFERENT = """## What differs from the paper, and where merge loses

* **The networks of tables 1 and 2 are other ones.** The paper's were not at hand. Ours have the
  same layers (VGG-16 at half width, MobileNetV1 at full width), but had only 5 to 7 epochs of
  training, so they start lower, and pruning takes them to chance (10 %) or near it, where the
  paper's keep
  much of their accuracy. Merging lifts that by some points and not to the paper's level. The likely
  reason stands under *Redundancy*: with half the channels gone, the removed ones of these networks
  are nearly as large as the kept ones, while those of the authors' ResNet-56 and LeNet-300-100 are
  about half as large. That longer training closes the gap was not tried; `train.py` can, at
  full width with 200 epochs. Compare gains, not levels.
* **Where merge does not win.** The sentences under each table name every row. Those of tables 1 and
  2 are rows in which both are at chance or a few points above, two useless networks. MobileNetV1
  loses a share of thirteen layers, one behind the other and without shortcuts, and what each gets
  wrong goes into the next. Those of the sweeps are mostly gentle ratios, where there is next to
  nothing to win back and one factor for each removed channel can hurt as well as help.
* **Folded batch norms.** The paper keeps them as nodes; default exporters fold them, and then a
  row's l1 norm says little of its channel. For such graphs the tables have `out-norm` as well, the
  row's norm times that of the weights that read it.
* **Parameters of table 2** come out as in the paper if the last pointwise convolution keeps its
  outputs, if the batch norms' running means and variances are not counted (*trained*), and if the
  figure is cut off after its last digit, not rounded, as in table 3, where VGG-16 leaves no choice:
  85,797,416 is its 85M.
* **Table 3 has no accuracies here**, for want of the weights. The command takes them with
  `--model`, and an ImageNet folder with `--images` and `--labels`; the arithmetic is exact.
* **The NMF comparison** in the paper's reply names LeNet-5, but its figure for merging, 88.69, is
  to the digit that of LeNet-300-100 with half its channels and l1, so this is the network here. Its
  15.80 for NMF is what ten random starts give on average.
* **Where moments does not win.** It fits all kept channels, and a constant, to each removed one,
  and needs no theorem about activations; but it must know what activations there are. Without data
  it guesses what inputs look like. On LeNet-300-100 it mixes them from the rows of the first layer
  and loses up to 0.5 points to merging where 10 to 50 % of the channels go; from 60 % on it wins.
  Some 256 unlabelled images mend that. Where next to nothing is lost by any method, the order of
  all of them is chance.
* **moments of other programs' table** was measured before synthetic inputs were photographs.
* **moments+data of the VGGs**, in table 1 and of other programs' channels, was measured before
  their two fully connected layers were fitted together, which moves them by a tenth or two (see How
  it works). All other networks but LeNet-300-100, which was measured after, have no such pair.
"""

OTHERS = """## The other rows of README

Networks for ImageNet are judged on 500 labelled photographs; 256 others are the data. Here
ResNet-50:

```sh
nmcore compress path/to/resnet50.onnx small.onnx --macs 0.58 --data path/to/256_photographs \
    --scale 1 --mean 123.68 116.779 103.939 --std 1
nmcore evaluate path/to/resnet50.onnx small.onnx --data path/to/500_photographs \
    --labels path/to/labels.csv --scale 1 --mean 123.68 116.779 103.939 --std 1
```

and without data, seed by seed:

```sh
python benchmarks/accuracy/synthetic.py path/to/resnet50.onnx --macs 0.58 \
    --data path/to/500_photographs --labels path/to/labels.csv --variants default \
    --scale 1 --mean 123.68 116.779 103.939 --std 1 --seeds 0 1 2 3 4 --json resnet50.json
```

| network | `--macs` | preprocessing |
| --- | ---: | --- |
| ResNet-50 (Keras), batch norm folded | 0.58 | as above |
| MobileNetV2 (torchvision), folded | 0.8 | `--preprocess imagenet` |
| EfficientNet-Lite0, folded | 0.8 | `--scale 1 --mean 127 --std 128` |
| MobileNetV1-0.25 (Keras), folded | 0.8 | `--scale 127.5 --mean 1 --std 1` |
| ResNet-56, CIFAR-10, folded | 0.5 | as in its table |

ResNet-56 takes `cifar10_test.npz` as `--data`, without labels. Boxes of yolo11n are of
[detectors](howto/detectors.md), the cosine of sentences is of [text encoders](howto/texts.md).
"""


DUELS = (("merge", "prune"), ("moments", "merge"), ("moments+data", "merge"))


@dataclass(frozen=True)
class Section:
    """One command's part of the page.

    Attributes
    ----------
    name : str
        Of its JSON and its picture.
    title : str
        Its heading.
    command : str
        The module whose docstring has the command.
    tables : str
        The module whose ``outcome`` makes the tables.
    duels : sequence of pairs
        Which method should beat which.
    """

    name: str
    title: str
    command: str
    tables: str
    duels: Sequence[tuple[str, str]] = DUELS

    def outcome(self, records: Sequence[Record]) -> Outcome:
        """Make the tables and the picture."""
        made: Outcome = importlib.import_module(self.tables).outcome(records)
        return made

    def markdown(self, records: Sequence[Record]) -> str:
        """Write the section."""
        parts = [f"## {self.title}", f"```sh\n{usage(self.command)}\n```"]
        outcome = self.outcome(records)
        parts.append(outcome.markdown())
        if outcome.panels:
            parts.append(f"![{self.title}](results/{self.name}.svg)")
        lines = [sentence(records, *pair) for pair in self.duels]
        parts += ["\n".join(f"* {line}" for line in lines if line)] if any(lines) else []
        return "\n\n".join(parts)


SECTIONS = (
    Section("table1", "Table 1: activations, VGG-16 on CIFAR-10", "table1", "table1"),
    Section("table2", "Table 2: MobileNetV1 on CIFAR-10", "table2", "table2"),
    Section("table3", "Table 3: VGG-16 and ResNet-34 for ImageNet", "table3", "table3"),
    Section(
        "nmf",
        "The NMF comparison, Fashion-MNIST",
        "nmf",
        "nmf",
        (*DUELS, ("merge", "nmf")),
    ),
    Section("lenet300100", "LeNet-300-100 on Fashion-MNIST", "lenet300100", "sweep"),
    Section("resnet56", "ResNet-56 on CIFAR-10", "resnet56", "sweep"),
    Section("peers", "Other programs, CIFAR-10", "peers", "peers", ()),
    Section("redundancy", "Redundancy", "redundancy", "redundancy", ()),
)


def usage(module: str) -> str:
    """Return the commands of a module's docstring, which is where they are written down."""
    text = importlib.import_module(module).__doc__ or ""
    lines = [line.removeprefix("    ") for line in text.splitlines() if line.startswith("    ")]
    return "\n".join(lines)


def machines(everything: Sequence[Record]) -> str:
    """Name the machines that the figures come from."""
    found = dict.fromkeys(each.machine for each in everything)
    return "\n".join(["## The machine", "", *(f"* {each}" for each in found)])


def parts(results: Path) -> Iterator[str]:
    """Yield the page piece by piece, and renew what lies beside the JSON."""
    yield HEAD.strip()
    everything: list[Record] = []
    for section in SECTIONS:
        path = results / f"{section.name}.json"
        if not path.exists():
            print(f"{path} is not there: its section is left out", file=sys.stderr)
            yield f"## {section.title}\n\nNot measured."
            continue
        records = load(path)
        everything += records
        yield section.markdown(records)
        save(section.outcome(records), path)
    yield OTHERS.strip()
    yield DIFFERENT.strip()
    yield machines(everything)


def main() -> None:
    """Write the page."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=folder, help="where the JSON lies, and pictures go")
    parser.add_argument("page", type=Path, help="the Markdown file, beside that folder")
    options = parser.parse_args()
    text = "\n\n".join(parts(options.results))
    atomic_write(options.page, f"{text}\n".encode())


if __name__ == "__main__":
    main()
