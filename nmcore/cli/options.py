"""Options: what several commands share, and kinds that click does not bring.

Everything that costs time to import is imported where it is used: ``nmcore --help`` is instant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    # A generic class from click 8.4 on, so it cannot be subscripted when older ones run.
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType


class Numbers(_ParamType):
    """One number, or several with commas between."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the numbers as a tuple of float."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in str(value).split(",") if part.strip())
        except ValueError:
            self.fail(f"{value!r} is not a number or several with commas between.", param, ctx)


class NumbersOption(click.Option):
    """An option that takes one or more numbers: ``--mean 0.49 0.48``, ``0.49,0.48``, or repeated.

    It works in a :class:`GatheringCommand`, whose parser hands it the numbers that follow.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs |= {"type": Numbers(), "multiple": True, "metavar": "NUMBER..."}
        super().__init__(*args, **kwargs)

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """Join what repeated options gave; None where there was none."""
        given = super().process_value(ctx, value)
        return tuple(number for part in given for number in part) if given else None


class GatheringCommand(click.Command):
    """A command whose :class:`NumbersOption` options take all numbers that follow them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Join each such option and its numbers into one word, then parse as usual."""
        names = {
            name for param in self.params if isinstance(param, NumbersOption) for name in param.opts
        }
        return super().parse_args(ctx, list(gather_numbers(args, names)))


class SectionedCommand(GatheringCommand):
    """A command whose help has its options in sections.

    Parameters
    ----------
    sections : mapping of str to sequence of str
        By their headings, each with an example in it: the parameters. Those that none names come
        last, under "Other".
    """

    def __init__(self, *args: Any, sections: Mapping[str, Sequence[str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sections = sections

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each section with its options in the order in which it names them."""
        records = {
            param.name: record
            for param in self.get_params(ctx)
            if isinstance(param, click.Option)
            and (record := param.get_help_record(ctx)) is not None
        }
        for heading, names in self._sections.items():
            rows = [records.pop(name) for name in names if name in records]
            with formatter.section(heading):
                formatter.write_dl(rows)
        if records:
            with formatter.section("Other"):
                formatter.write_dl([*records.values()])


def gather_numbers(args: Sequence[str], names: set[str]) -> Iterator[str]:
    """Yield ``args`` with each option of ``names`` and its numbers joined into one word.

    Negative numbers are numbers, not options; a file that is called like a number is written
    ``./5`` or behind ``--``.

    Examples
    --------
    >>> list(gather_numbers(["--mean", "0.5", "-1", "a.onnx", "--std", "b"], {"--mean", "--std"}))
    ['--mean=0.5,-1', 'a.onnx', '--std', 'b']
    """
    position = 0
    while position < len(args):
        word = args[position]
        position += 1
        if word == "--":
            yield from args[position - 1 :]
            return
        if word in names:
            numbers = []
            while position < len(args) and _is_numbers(args[position]):
                numbers.append(args[position])
                position += 1
            word = f"{word}={','.join(numbers)}" if numbers else word
        yield word


def _is_numbers(word: str) -> bool:
    try:
        return all(float(part) is not None for part in word.rstrip(",").split(","))
    except ValueError:
        return False


class LateChoice(_ParamType):
    """A choice among names that are looked up only when the option is used or explained."""

    name = "choice"

    def __init__(self, names: Callable[[], Sequence[str]]) -> None:
        self.names = names

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name if it is one of the choices."""
        return click.Choice(list(self.names())).convert(value, param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the names that begin like what was typed."""
        return [CompletionItem(name) for name in self.names() if name.startswith(incomplete)]

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what the help shows, as in ``[l1|l2]``."""
        return f"[{'|'.join(self.names())}]"


class PatternCount(_ParamType):
    """``PATTERN=COUNT``; the pattern may itself hold equals signs."""

    name = "pattern=count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the pattern and the count."""
        if isinstance(value, tuple):
            return value
        pattern, equals, count = str(value).rpartition("=")
        if not equals or not pattern or not count.strip().isdecimal():
            self.fail(
                f"{value!r} is not of the form PATTERN=COUNT, as in 'layer1.*=12'.", param, ctx
            )
        return pattern, int(count)


class CountOrAuto(_ParamType):
    """A whole number from 1, or ``auto``."""

    name = "count or auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or the word."""
        if value == "auto" or isinstance(value, int):
            return value
        if not str(value).isdecimal() or int(value) < 1:
            self.fail(f"{value!r} is neither auto nor a whole number from 1.", param, ctx)
        return int(value)


class InputShape(_ParamType):
    """``NAME=1x3x640x640``, or the shape alone."""

    name = "shape"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name, empty where there is none, and the sizes."""
        if isinstance(value, tuple):
            return value
        name, _, sizes = str(value).rpartition("=")
        words = sizes.lower().replace(",", "x").split("x")
        if not all(word.strip().isdecimal() and 0 < int(word[:11]) < 2**31 for word in words):
            self.fail(
                f"{value!r} is not of the form NAME=SIZES, as in images=1x3x640x640.", param, ctx
            )
        return name, tuple(map(int, words))


class InputShapeOption(click.Option):
    """A repeatable option that gives shapes by the names of inputs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs |= {"type": InputShape(), "multiple": True, "metavar": "[NAME=]SIZES"}
        super().__init__(*args, **kwargs)

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """Gather the shapes; None where there are none."""
        return dict(super().process_value(ctx, value)) or None


FILE = click.Path(path_type=Path)


def _split_providers(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",") if name.strip())


only_option = click.option(
    "--only",
    multiple=True,
    metavar="PATTERN",
    help="Touch only groups with a node, weight or PyTorch module that matches.",
)
exclude_option = click.option(
    "--exclude",
    multiple=True,
    metavar="PATTERN",
    help="Leave groups alone with a node that matches.",
)
scale_option = click.option(
    "--scale", type=float, metavar="S", help="Inputs are (x / S - mean) / std."
)
mean_option = click.option("--mean", cls=NumbersOption, help="One number, or one a channel.")
std_option = click.option("--std", cls=NumbersOption, help="One number, or one a channel.")


class Preprocessing(LateChoice):
    """A name of a usual preprocessing, or a JSON file."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name if it is known, or the path of a file."""
        if str(value).lower().endswith(".json"):
            return str(value)
        return super().convert(value, param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return the names, and that it may be a file."""
        return f"[{'|'.join(self.names())}|FILE.json]"


def _preprocessing() -> Sequence[str]:
    from nmcore.data.preprocessing import PREPROCESSING

    return list(PREPROCESSING)


preprocess_option = click.option(
    "--preprocess",
    type=Preprocessing(_preprocessing),
    help="A usual --scale, --mean and --std by name, with the order of colours and how pictures "
    "are resized; or a JSON file that says so.",
)
labels_option = click.option(
    "--labels",
    type=FILE,
    metavar="FILE.csv",
    help="The class of each file of a folder, as file,label.  [default: labels.csv in it, or its "
    "subfolders]",
)

input_shape_option = click.option(
    "--input-shape",
    cls=InputShapeOption,
    help="The shape of an input, such as images=1x3x640x640, where the model leaves sizes open: "
    "what MACs are counted at, synthetic inputs and pictures have, and is timed. What is written "
    "stays open. Repeat it for several inputs; NAME= may be left out where there is one.",
)


class MetricOption(click.Option):
    """An option whose help lists the metrics; the forms of detectors' outputs would be too many."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return what stands on the left of the help, and on the right with the names."""
        record = super().get_help_record(ctx)
        assert record is not None
        names = ", ".join(name for name in _metrics() if ":" not in name)
        return record[0], record[1].replace("NAMES", names)


def _metrics() -> Sequence[str]:
    from nmcore.evaluation.metrics.registry import METRICS

    return list(METRICS)


metric_option = click.option(
    "--metric",
    type=LateChoice(_metrics),
    cls=MetricOption,
    multiple=True,
    metavar="NAME",
    help="What to tell of the outputs, of NAMES; or boxes:FORM, such as boxes:yolov8, where a "
    "detector's form is not told. Repeat it for several, of which the first measures what is "
    "lost.  [default: what suits their form]",
)
providers_option = click.option(
    "--providers",
    default="auto",
    metavar="NAMES",
    callback=_split_providers,
    help="Where models run, in order of preference: auto, cuda, cpu, or cuda,cpu.  [default: auto]",
)
seed_option = click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="For whatever is random.  [default: 0]",
)
threads_option = click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="Threads that one operator may use on the CPU.  [default: all]",
)
runs_option = click.option(
    "--runs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Timed runs of each model.  [default: 50, more of fast models and fewer of slow ones]",
)
all_option = click.option(
    "--all",
    "everything",
    is_flag=True,
    help="List every group on a terminal; without it the first ten. In a pipe all are listed.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
