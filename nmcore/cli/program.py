"""The program: its group of commands, one-line errors, logging."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import click

from nmcore import __version__
from nmcore.cli import logs
from nmcore.errors import NmcoreError
from nmcore.utils.interrupts import insisting

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
        with _unread():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named."""
        with _unread():
            return super().invoke(ctx)

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run the program and exit; errors that are not the user's keep their traceback."""
        _replace_unprintable()
        kwargs["standalone_mode"] = False
        try:
            with insisting():
                code = super().main(*args, **kwargs)
        except click.exceptions.NoArgsIsHelpError as error:
            print(error.ctx.get_help())
            sys.exit(0)
        except click.ClickException as error:
            _fail(_usage_line(error))
        except NmcoreError as error:
            _fail(str(error))
        except MemoryError as error:
            _fail(f"out of memory: {error}" if str(error) else "out of memory")
        except click.Abort:
            print("nmcore: interrupted", file=sys.stderr)
            sys.exit(INTERRUPTED)
        sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def _unread() -> Iterator[None]:
    """Leave well where the reader (head, less) has seen enough."""
    try:
        yield
    except BrokenPipeError:
        # Python must not complain at exit either.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        raise click.exceptions.Exit(0) from None


def _usage_line(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    message = " ".join(error.format_message().split()).removesuffix(".")
    return f"{message} (see {context.command_path} --help)" if context else message


def _fail(message: str) -> NoReturn:
    # Not needed by --help, and it imports NumPy.
    from nmcore.utils.text import printable

    print(f"nmcore: error: {printable(message)}", file=sys.stderr)
    sys.exit(USAGE_ERROR)


def _replace_unprintable() -> None:
    # A name from a model may hold what the terminal's encoding does not.
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nmcore", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Log the steps and their seconds to stderr.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def cli(debug: bool, quiet: bool) -> None:
    """Make an exported ONNX model smaller and faster without training.

    Whole channels are removed, and what they did is merged into the next layer.
    """
    logs.start(debug=debug)
    if quiet:
        logs.be_quiet()
