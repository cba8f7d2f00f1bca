"""Write docs/speed.md and its picture from the JSON of run.py, others.py and scale/parts.py.

    python benchmarks/kernels/page.py docs/results docs/speed.md

Nothing on the page is typed by hand but the prose of this file.
"""

import argparse
import json
from importlib.util import find_spec
from pathlib import Path

from nmcore import bench
from nmcore.bench.runs import SGEMM
from nmcore.bench.table import HEADINGS, cells, sizes
from nmcore.utils.files import atomic_write

HEAD = """# Speed

<!-- Written by benchmarks/kernels/page.py from docs/results/kernels-*.json and parts.json. -->
"""

PARTS = """## Whole models

The default method, on one thread. Seconds are those of the processor; they still grow with what
else runs on the machine, products of large matrices more than passes. Compare them with the pass
beside them, which is the original's over the same inputs, those held back included.

* *curves*: error curves of all groups, and the trials that weigh them: *weighing*.
* *walk*: refitting layer by layer. *Together*: pairs of layers and residual blocks.
* *baseline*: merging, and its comparison. *Comparing*: what the last lines of the output tell.
* *running*: all runs of the network and the products of what layers read, whatever the part.
  *Choosing*: inverses and eliminations. *Fitting*: least squares.

Opening, reading and writing the model do not count.
"""

KERNELS = """## Kernels

The search for the most similar channels (MostSim), beside what one would write with other libraries
on the same float32 weights; then error selection, the criteria and the folding of Z. Figures are
medians; all contenders of a table took turns within one run. The answers of their first and their
last turn were checked, of libraries too; sgemm and the factorisations give nothing to check.
Machines shared with others vary from minute to minute: compare within a table only. These commands
take the libraries that are installed; `nmcore bench kernels` times nmcore's kernels without them.

* *of sgemm*: the rate of the needed products, removed rows times kept rows, in percent of that of
  this machine's own matrix product of just that shape (NumPy's BLAS) in the same turn. Normalising,
  choosing and comparing count as time, not as work.
* *peak MB*: by how much the process grew, the weights aside.
* *vs ours*: the time in multiples of our fastest kernel's in that table.
"""

PART_NAMES = {
    "curves": "curves",
    "outputs": "weighing",
    "walk": "walk",
    "together": "together",
    "baseline": "baseline",
    "comparing": "comparing",
}

BOUNDS = """### What bounds each kernel

* **MostSim**: BLAS. What is not the product is memory traffic: each row is read once to be
  normalised and once more to be compared in exact arithmetic, and the kept rows' unit vectors are
  memory that the system must hand out. With few rows (512) the weights still come from memory three
  times for one short product, and starting a second thread is felt.
* **Error selection**: half is inverting the covariance and updating two matrices, by products with
  a short inner side; the rest is the panels, which are read once for each removal and bound by the
  second-level cache. The work is about 2.5 N^3 operations, so that a Cholesky factorisation, with
  its N^3 / 3, stays out of reach.
* **l1, l2**: memory; the weight is read once. **l2-gm**: a float64 product of half of all pairs.
* **Folding Z of a merge**: memory; nothing is multiplied but the removed columns.

### What did not help

* More threads for BLAS. OpenBLAS's own spin for a tenth of a second after each product and take the
  processors from the passes between; now each of our threads multiplies its own block.
* Smaller blocks than 512 rows: BLAS packs all kept rows again for each.
* A compiled loop for the maximum of a row: NumPy's is three times as fast.
* Looking for NaN and infinity beforehand, on two threads: memory is no faster for two. It is now
  done while rows are read.
* For error selection: products by our own threads, square tiles, panels of 64 or 128.
"""


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="the folder of kernels-*.json")
    parser.add_argument("page", type=Path, help="the Markdown file to write")
    return parser.parse_args()


def markdown(headings, rows):
    """Return a table, its first column on the left and the others on the right."""
    grid = [list(headings), *rows]
    widths = [max(len(row[at]) for row in grid) for at in range(len(headings))]
    lines = [
        " | ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in grid
    ]
    rule = " | ".join("-" * (w - 1) + (":" if at else "-") for at, w in enumerate(widths))
    return "\n".join(f"| {line} |" for line in [lines[0], rule, *lines[1:]])


def whole_models(path):
    """Yield the tables of whole models, and how they were made."""
    if not path.exists():
        return
    rows = json.loads(path.read_text())
    yield PARTS.rstrip()
    headings = ["model", "MACs", "inputs", "one pass, s", "all, s", "times a pass", "GB"]
    yield markdown(headings, [[*about(row), f"{row['gigabytes']:.1f}"] for row in rows])
    headings = ["model, seconds", *PART_NAMES.values(), "running", "choosing", "fitting"]
    cells = [
        [row["name"], *(f"{row['steps'][name]:.0f}" for name in PART_NAMES)]
        + [f"{seconds:.0f}" for seconds in row["work"].values()]
        for row in rows
    ]
    yield markdown(headings, cells)
    commands = "\n".join(f"python benchmarks/scale/parts.py {row['command']}" for row in rows)
    yield f"```sh\n{commands}\n```"


def about(row):
    """Return what a model was compressed to, and how long that took."""
    share, times = f"{100 * row['macs']:.0f} %", f"{row['total'] / row['pass']:.1f}"
    seconds = [f"{row[name]:.1f}" for name in ("pass", "total")]
    return [row["name"], share, str(row["samples"]), *seconds, times]


def searches(results):
    """Yield a table a size and run."""
    for result in results:
        for size in sizes(result):
            rows = [[name.replace("*", "\\*"), *rest] for name, *rest in cells(result, size)]
            yield f"#### {size} kept{among(result, results)}\n\n{markdown(HEADINGS, rows)}"
            yield "\n".join(f"* {line.lstrip('* ')}" for line in notes(result, size))


def among(result, results):
    """Tell runs of the same sizes apart: the slowest contenders have one of their own."""
    alike = [each for each in results if sizes(each) == sizes(result)]
    return f", run {alike.index(result) + 1} of {len(alike)}" if len(alike) > 1 else ""


def notes(result, size):
    """Yield what one has to know of a run."""
    rows = [row for row in result["rows"] if row["size"] == size]
    yield verdict(result, size)
    turns = "one turn" if result["repeats"] == 1 else f"medians of {result['repeats']} turns"
    yield f"{turns}, after one to warm up"
    timed = sorted({row["timed_rows"] for row in rows if row["scaled_up"]})
    if timed:
        counts = " and ".join(map(str, timed))
        yield f"\\* timed on {counts} of the rows, and multiplied; memory is that of these rows"


def verdict(result, size):
    """Say in a sentence how our fastest kernel does against the best and the worst of the rest."""
    rows = [row for row in result["rows"] if row["size"] == size]
    ours = min((row for row in rows if row["ours"]), key=lambda row: row["seconds"])
    rest = [row for row in rows if not row["ours"] and row["name"] != SGEMM]
    best, worst = (pick(rest, key=lambda row: row["seconds"]) for pick in (min, max))
    return (
        f"`{ours['name']}` reaches {100 * ours['sgemm_share']:.0f} % of sgemm, takes "
        f"{ours['seconds'] / best['seconds']:.2f} times as long as `{best['name']}`, the fastest "
        f"of the others in this run, and is {worst['seconds'] / ours['seconds']:,.0f} times as "
        f"fast as `{worst['name']}`"
    )


def others(results):
    """Yield a table a case."""
    for result in results:
        for title, seconds in result["seconds"].items():
            first = next(iter(seconds.values()))
            rows = [[name, f"{1e3 * s:,.1f}", f"{s / first:.2f}"] for name, s in seconds.items()]
            yield f"#### {title[0].upper()}{title[1:]}\n\n" + markdown(
                ("what", "ms", "times the first"), rows
            )


def machines(results):
    """Return each machine once."""
    lines = []
    for result in results:
        machine = result["machine"]
        packages = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
        lines.append(
            f"* {machine['processor']}, {machine['threads']} of {machine['cores']} processors; "
            f"Python {machine['python']}, {packages}"
        )
    return "\n".join(dict.fromkeys(lines))


def drawn(runs):
    """Return all rows as one result, each contender once."""
    rows = {(row["size"], row["name"]): row for run in reversed(runs) for row in run["rows"]}
    order = dict.fromkeys(size for run in runs for size in sizes(run))
    return {"rows": [row for size in order for row in rows.values() if row["size"] == size]}


def main():
    options = parse()
    paths = sorted(options.results.glob("kernels-*.json"))
    results = [json.loads(path.read_text()) for path in paths]
    runs = [result for result in results if "rows" in result]
    # The smallest size first; of one size, the run with the most turns.
    runs.sort(
        key=lambda run: (bench.Size.parse(sizes(run)[0].replace(" ", "")).flops, -run["repeats"])
    )
    rest = [result for result in results if "seconds" in result]
    picture = options.results / "kernels.svg"
    if find_spec("matplotlib"):
        bench.plot(drawn(runs), picture)
    parts = [
        HEAD.rstrip(),
        *whole_models(options.results / "parts.json"),
        KERNELS.rstrip(),
        "```sh\nexport OMP_NUM_THREADS=2 NUMBA_NUM_THREADS=2\n"
        "taskset -c 0,1 python benchmarks/kernels/run.py --size 4096x4096,2048\n"
        "taskset -c 0,1 python benchmarks/kernels/others.py --width 2048\n```",
        f"![Rates as shares of sgemm's]({picture.parent.name}/{picture.name})",
        "### The search",
        *searches(runs),
        "### Error selection, criteria, folding",
        *others(rest),
        BOUNDS.rstrip(),
        "## The machine",
        machines(results),
    ]
    atomic_write(options.page, ("\n\n".join(parts) + "\n").encode())


if __name__ == "__main__":
    main()
