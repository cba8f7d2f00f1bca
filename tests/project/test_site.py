"""The documentation builds without a warning, fetches nothing from elsewhere, and fits a phone.

It needs ``pip install '.[docs]'``; what runs in a browser, ``.[browser]`` and a Chromium besides.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pages import ROOT

CHROMIUM = os.environ.get("NMCORE_BROWSER") or shutil.which("chromium")
LOADED = re.compile(
    r"<(?:script|img|iframe|source|link)\b[^>]*?(?:src|href)=[\"']?((?:https?:)?//[^\"' >]+)"
)
IN_STYLE = re.compile(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]+)")
PAGES = ("index", "how-it-works", "howto/plugin", "reference/cli", "reference/models", "results")
PHONE, DESK = 390, 1300


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    for module in ("material", "mkdocstrings_handlers.python"):
        pytest.importorskip(module, reason="the documentation's tools are not installed")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT, env=dict(os.environ, NO_MKDOCS_2_WARNING="1"),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_pages_load_nothing_from_elsewhere(site):
    found = {
        (path.name, address)
        for pattern, suffix in ((LOADED, "*.html"), (IN_STYLE, "*.html"), (IN_STYLE, "*.css"))
        for path in site.rglob(suffix)
        for address in pattern.findall(path.read_text(encoding="utf-8"))
    }
    assert found == set()


def test_the_pattern_finds_what_is_loaded():
    assert LOADED.findall('<script src="https://a.b/c.js"></script><link href="//d.e">') == [
        "https://a.b/c.js",
        "//d.e",
    ]
    assert IN_STYLE.findall("@import 'https://a.b/c.css'; a { src: url(//d.e/f) }") == [
        "https://a.b/c.css",
        "//d.e/f",
    ]


def test_the_reference_has_every_command_and_public_name(site):
    import nmcore
    from nmcore.cli import cli

    commands = (site / "reference/cli.html").read_text()
    for name, command in cli.commands.items():
        assert f"nmcore {name}" in commands
        for option in (word for param in command.params for word in param.opts if word[0] == "-"):
            assert option in commands
    text = "".join(path.read_text() for path in (site / "reference").glob("*.html"))
    for name in nmcore.__all__:
        assert f'id="nmcore.{name}"' in text
    assert "Sentinel" not in commands
    assert not re.search(r":(?:func|class|meth|mod|data|attr):", text)


@pytest.fixture(scope="module")
def address(site):
    handler = partial(SimpleHTTPRequestHandler, directory=site)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_pages_in_a_browser(chromium, address, width):
    opened = chromium.new_page(viewport={"width": width, "height": 800})
    troubles = []
    opened.on("request", lambda r: r.url.startswith(address) or troubles.append(r.url))
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    for page in PAGES:
        opened.goto(f"{address}/{page}.html", wait_until="load")
        assert opened.evaluate("document.documentElement.scrollWidth") <= width, page
        pictures = "Array.from(document.images).filter(i => i.complete && !i.naturalWidth).length"
        assert opened.evaluate(pictures) == 0, page
    opened.close()
    assert troubles == []


def test_search_finds_a_page(chromium, address):
    opened = chromium.new_page(viewport={"width": DESK, "height": 800})
    opened.goto(f"{address}/index.html", wait_until="load")
    opened.locator(".md-search__input").click()
    opened.keyboard.type("quantise afterwards")
    first = opened.locator(".md-search-result__item a").first
    first.wait_for(timeout=10_000)
    assert "howto/quantise.html" in first.get_attribute("href")
    opened.close()
