"""Write the figures of today's program into the output that pages show "for example".

    python docs/refresh_examples.py README.md docs/howto/quantise.md

The tests compare such output with numbers left out, so that other machines pass them; the numbers
grow old unnoticed. This runs a page as the tests do and writes what is printed in place of what was
said, where only numbers differ. Text around the blocks that repeats a figure is for
whoever runs this to mend: lines that change are told, and those whose words are no longer printed.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

import pages

MORE = "..."


def likeness(line: str) -> re.Pattern[str]:
    """What matches a line with other numbers, and anything where it has an ellipsis."""
    parts = re.split(rf"({re.escape(MORE)}|{pages.NUMBER.pattern}|\s+)", line.strip())
    known = {MORE: ".*", "": ""}
    found = [
        known.get(part)
        or (pages.NUMBER.pattern if pages.NUMBER.fullmatch(part) else re.escape(part))
        if part.strip()
        else (r"\s+" if part else "")
        for part in parts
    ]
    return re.compile(rf"\s*{''.join(found)}\s*")


def with_numbers(line: str, printed: str) -> str:
    """A line with the numbers of another one of the same words, in the columns of its own."""
    parts, rest = [], 0
    pairs = zip(pages.NUMBER.finditer(line), pages.NUMBER.findall(printed), strict=True)
    for found, number in pairs:
        before = line[rest : found.start()]
        more = len(number) - len(found[0])
        if more > 0:  # The spaces before make room, all but one.
            room = max(0, len(before) - len(before.rstrip()) - 1)
            before = before[: len(before) - min(more, room)]
        elif before.endswith("  "):
            number = number.rjust(len(found[0]))
        parts += [before, number]
        rest = found.end()
    return "".join([*parts, line[rest:]])


def refreshed(said: Sequence[str], printed: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Each line that a page shows, with the numbers of the printed one behind the last found.

    With it comes whether its words are still printed.
    """
    at = 0
    for line in said:
        if line.strip() in ("", MORE):
            yield line, True
            continue
        pattern = likeness(line)
        place = next((k for k in range(at, len(printed)) if pattern.fullmatch(printed[k])), None)
        if place is None:
            yield line, False
            continue
        at = place + 1
        yield line if MORE in line else with_numbers(line, printed[place]), True


def refresh(page: Path) -> list[str]:
    """Run a page, write it, and tell the lines that changed and those that are printed no more."""
    text, told, written = page.read_text(encoding="utf-8"), [], []
    with tempfile.TemporaryDirectory() as folder:
        for block, printed in pages.Reader(Path(folder)).outputs(page):
            if block.language != "text" or block.title != pages.FOR_EXAMPLE:
                continue
            said = block.body.splitlines()
            now = list(refreshed(said, pages.settled(printed).splitlines()))
            for before, (after, found) in zip(said, now, strict=True):
                told += [] if found else [f"not printed: {before}"]
                told += [] if before == after else [f"- {before}", f"+ {after}"]
            written.append((block.place, "".join(f"{line}\n" for line, _ in now)))
    for place, body in reversed(written):
        text = text[: place.start] + body + text[place.stop :]
    page.write_text(text, encoding="utf-8")
    return told


def main() -> None:
    """Refresh the pages that are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pages", nargs="+", type=Path)
    for page in parser.parse_args().pages:
        print(f"{page}:", *refresh(page.resolve()), sep="\n", flush=True)


if __name__ == "__main__":
    main()
