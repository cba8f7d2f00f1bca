"""Parts of the command line that click does not bring: one-line errors, lists of numbers.

Everything that costs time to import is imported where it is used: ``nmcore --help`` is instant.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

import click

from nmcore.errors import NmcoreError

if TYPE_CHECKING:
    # A generic class from click 8.4 on, so it cannot be subscripted when older ones run.
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType

USAGE_ERROR = 2
INTERRUPTED = 130


class Program(click.Group):
    """A group whose errors are one line on stderr, and exit code 2.

    Its context's ``obj`` is the whole command, as a line that a shell takes.
    """

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Remember the command before click takes its words apart."""
        extra.setdefault("obj", shlex.join(["nmcore", *args]))
        return super().make_context(info_name, args, parent, **extra)

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run the program and exit; errors that are not the user's keep their traceback."""
        _replace_unprintable()
        kwargs["standalone_mode"] = False
        try:
            code = super().main(*args, **kwargs)
        except click.exceptions.NoArgsIsHelpError as error:
            print(error.ctx.get_help())
            sys.exit(0)
        except click.ClickException as error:
            _fail(_usage_line(error))
        except NmcoreError as error:
            _fail(str(error))
        except click.Abort:
            print("nmcore: interrupted", file=sys.stderr)
            sys.exit(INTERRUPTED)
        except BrokenPipeError:
            # The reader (head, less) has seen enough; Python must not complain at exit either.
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115
            sys.exit(0)
        sys.exit(code if isinstance(code, int) else 0)


def _usage_line(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    message = " ".join(error.format_message().split()).removesuffix(".")
    return f"{message} (see {context.command_path} --help)" if context else message


def _fail(message: str) -> NoReturn:
    print(f"nmcore: error: {printable(message)}", file=sys.stderr)
    sys.exit(USAGE_ERROR)


def _replace_unprintable() -> None:
    # A name from a model may hold what the terminal's encoding does not.
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def printable(text: str) -> str:
    r"""Escape what would break a line or steer a terminal; names come from files of strangers.

    >>> printable("conv\n1 \x1b[31m é")
    'conv\\n1 \\x1b[31m é'
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


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
