"""Write the figures of today's program into the output that pages show "for example".

    python docs/refresh_examples.py README.md docs/howto/quantise.md

The tests compare such output with numbers left out, so that other machines pass them; the numbers
grow old unnoticed. This runs a page as the tests do and writes what is printed in place of what was
said, line by line, where only numbers differ. Text around the blocks that repeats a figure is for
whoever runs this to mend: the changed lines are told.
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


def refreshed(said: Sequence[str], printed: Sequence[str]) -> Iterator[str]:
    """Each line that a page shows, or the printed one of the same words behind the last found."""
    at = 0
    for line in said:
        pattern = likeness(line)
        places = (k for k in range(at, len(printed)) if pattern.fullmatch(printed[k]))
        place = None if line.strip() in ("", MORE) else next(places, None)
        if place is None:
            yield line
            continue
        at = place + 1
        same = MORE in line or printed[place].split() == line.split()
        yield line if same else printed[place].rstrip()


def refresh(page: Path) -> list[tuple[str, str]]:
    """Run a page, write it, and return the lines that changed, before and after."""
    text, changes = page.read_text(encoding="utf-8"), []
    with tempfile.TemporaryDirectory() as folder:
        reader, printed = pages.Reader(Path(folder)), ""
        for block in pages.blocks(page):
            if block.language == "text" and block.title == pages.FOR_EXAMPLE:
                said = block.body.splitlines()
                now = list(refreshed(said, printed.splitlines()))
                changes += [pair for pair in zip(said, now, strict=True) if pair[0] != pair[1]]
                text = text.replace(block.body, "".join(f"{line}\n" for line in now), 1)
            elif block.title:
                reader.write(block)
            elif block.runs:
                printed = reader.run(block)
    page.write_text(text, encoding="utf-8")
    return changes


def main() -> None:
    """Refresh the pages that are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pages", nargs="+", type=Path)
    for page in parser.parse_args().pages:
        for before, after in refresh(page.resolve()):
            print(f"{page}:\n- {before}\n+ {after}", flush=True)


if __name__ == "__main__":
    main()
