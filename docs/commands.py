"""The page of the command line, written from the program itself whenever the site is built."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import cleandoc
from typing import Any

import click

from nmcore.cli import cli

MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the commands where a page asks for them; MkDocs calls this for each page."""
    context = click.Context(cli, info_name="nmcore", **cli.context_settings)
    return markdown.replace(MARK, "\n".join(described(cli, context)))


def described(command: click.Command, context: click.Context, level: int = 2) -> Iterator[str]:
    """A command with its options, and then the commands below it, as Markdown."""
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"{'#' * level} {context.command_path}\n"
    yield f"{cleandoc(command.help or '')}\n"
    yield f"```text\n{usage}\n```\n"
    for param in command.get_params(context):
        record = param.get_help_record(context)
        if record is not None:
            option, words = record
            # click puts bounds and defaults in brackets, which Markdown would take for links.
            yield f"`{option}`\n:   {' '.join(words.split()).replace('[', '&#91;')}\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            inner = click.Context(below, info_name=name, parent=context)
            yield from described(below, inner, min(level + 1, 3))
