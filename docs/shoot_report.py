"""Take the picture of a report, of another width, height and scheme where these are said.

That of the README, and one of a phone in the dark::

    python docs/shoot_report.py report.html docs/images/report.png
    python docs/shoot_report.py report.html docs/images/report-phone-dark.png 390 1500 dark

It needs ``pip install '.[browser]'`` and a Chromium, which ``NMCORE_BROWSER`` may name.
"""

from __future__ import annotations

import os
import shutil
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

WIDTH, HEIGHT = 1000, 980


def shoot(
    page: Path, picture: Path, width: int = WIDTH, height: int = HEIGHT, scheme: str = "light"
) -> None:
    """Write the upper part of a page as it looks on a screen."""
    browser_path = os.environ.get("NMCORE_BROWSER") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        size = {"width": width, "height": height}
        opened = browser.new_page(viewport=size, color_scheme=scheme)
        opened.goto(page.resolve().as_uri())
        taken = Image.open(BytesIO(opened.screenshot()))
        browser.close()
    # A page has few colours; a palette makes the file a third as large.
    taken.convert("RGB").quantize(128).save(picture, optimize=True)


if __name__ == "__main__":
    page, picture, *words = sys.argv[1:]
    shoot(Path(page), Path(picture), *map(int, words[:2]), *words[2:])
