"""Take the picture of a report: ``python docs/shoot_report.py report.html docs/images/report.png``.

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


def shoot(page: Path, picture: Path) -> None:
    """Write the upper part of a page as it looks on a screen."""
    browser_path = os.environ.get("NMCORE_BROWSER") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        opened.goto(page.resolve().as_uri())
        taken = Image.open(BytesIO(opened.screenshot()))
        browser.close()
    # A page has few colours; a palette makes the file a third as large.
    taken.convert("RGB").quantize(128).save(picture, optimize=True)


if __name__ == "__main__":
    shoot(*map(Path, sys.argv[1:]))
