"""The report in a real browser: no errors, nothing fetched, legible on a phone and on paper.

It needs ``pip install '.[browser]'`` and a Chromium, which ``NMCORE_BROWSER`` may name.
"""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from account import outcome, report
from nmcore.evaluation.examples import Example
from nmcore.evaluation.fidelity import Fidelity
from nmcore.evaluation.thumbnails import thumbnail
from nmcore.report.html import page
from nmcore.report.layers import LayerReport

CHROMIUM = next(
    filter(
        None,
        [
            os.environ.get("NMCORE_BROWSER"),
            *map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome")),
        ],
    ),
    None,
)
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
PHONE, DESK = 360, 1200
HOSTILE = ("</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "x" * 300)
# The contrast that the Web Content Accessibility Guidelines ask of text.
CONTRAST = 4.5


@pytest.fixture(scope="module")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    groups = [
        outcome(HOSTILE[0], 16, 8),
        outcome(HOSTILE[1], 300, 100, seed=1),
        outcome(HOSTILE[2], 16, 8, method="moments", seed=2),
        outcome("last", 64, 32, method="moments", seed=3),
    ]
    path = tmp_path_factory.mktemp("page") / "report.html"
    names = (*HOSTILE, "last")
    times = {"ms_before": 0.012345, "ms_after": 12345.6}
    layers = tuple(LayerReport(n, "Conv", 1600, 800, 10**9, 10**8, **times) for n in names)
    picture = thumbnail(np.random.default_rng(0).random((3, 200, 300)))
    words = ("class 1 (0.90), 2 (0.05), 3 (0.01)", HOSTILE[2])
    seen = [Example(k, 12.5, HOSTILE[1], *words, picture) for k in range(6)]
    found = Fidelity("data", 9, None, None, 90.0, 5.0, examples=seen)
    source = page(
        report(*groups, model=HOSTILE[0], command=HOSTILE[2], layers=layers, fidelity=found)
    )
    path.write_text(source, encoding="utf-8")
    return path


@pytest.fixture
def show(chromium, file):
    """Open the page; whatever goes wrong there fails the test."""
    contexts, troubles = [], []

    def is_own(url):
        return url == file.as_uri() or url.startswith("data:image/")

    def open_page(width=DESK, scheme="light", **options):
        context = chromium.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, **options
        )
        contexts.append(context)
        opened = context.new_page()
        opened.on("console", lambda message: troubles.append(message.text))
        opened.on("pageerror", lambda error: troubles.append(str(error)))
        opened.on("dialog", lambda dialog: (troubles.append(dialog.message), dialog.dismiss()))
        opened.on("request", lambda r: is_own(r.url) or troubles.append(r.url))
        opened.goto(file.as_uri())
        return opened

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []


def visible_pictures(opened):
    return [
        picture.get_attribute("aria-label")
        for picture in opened.locator("svg[role=img]").all()
        if picture.is_visible()
    ]


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_all_pictures_are_there(show, width, scripts):
    opened = show(width, java_script_enabled=scripts)
    names = [name.split()[0] for name in visible_pictures(opened)]
    assert names == ["Layers:", "Channels", "Error", "Removed", "Z:"]
    for picture in opened.locator("svg.chart").all():
        box = picture.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert 250 < box["width"] < 600


@pytest.mark.parametrize("width", [320, PHONE, 768, DESK])
def test_nothing_is_wider_than_the_screen(show, width):
    opened = show(width)
    opened.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert opened.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_pictures_of_inputs_are_shown(show, width):
    sizes = show(width).eval_on_selector_all(
        ".examples img", "all => all.map(i => [i.naturalWidth, i.getBoundingClientRect().width])"
    )
    assert sizes == [[96, 96]] * 6


def test_choosing_a_group_shows_its_z_and_hides_the_other(show):
    opened = show(java_script_enabled=False)
    first, second = opened.locator("details[name=z]").all()
    assert [each.locator("svg").is_visible() for each in (first, second)] == [False, True]
    first.locator("summary").click()
    assert [each.locator("svg").is_visible() for each in (first, second)] == [True, False]


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_text_in_charts_is_large_enough(show, width):
    sizes = show(width).eval_on_selector_all(
        "svg.chart text", "all => all.map(t => t.getBoundingClientRect().height)"
    )
    assert min(sizes) >= 10


def test_labels_of_charts_do_not_leave_them(show):
    outside = show(PHONE).eval_on_selector_all(
        "svg.chart",
        """all => all.flatMap(svg => [...svg.querySelectorAll('text')].filter(text => {
            const box = text.getBoundingClientRect(), frame = svg.getBoundingClientRect();
            return box.left < frame.left - 1 || box.right > frame.right + 1
                || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
        }).map(text => text.textContent))""",
    )
    assert outside == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(show, scheme):
    opened = show(PHONE, scheme)
    colours = opened.evaluate(
        """() => {
            const paint = document.createElement('canvas').getContext('2d');
            const style = getComputedStyle(document.documentElement);
            return Object.fromEntries(['paper', 'panel', 'ink', 'muted'].map(name => {
                paint.fillStyle = style.getPropertyValue('--' + name);
                return [name, paint.fillStyle];
            }));
        }"""
    )
    assert (luminance(colours["paper"]) < 0.1) == (scheme == "dark")
    for text in ("ink", "muted"):
        for ground in ("paper", "panel"):
            assert contrast(colours[text], colours[ground]) >= CONTRAST


def contrast(one, other):
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def luminance(colour):
    """Relative luminance of #rrggbb, as the guidelines define it."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * p for weight, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_on_paper_it_is_light_and_what_is_folded_away_is_left_out(show):
    opened = show(scheme="dark")
    opened.emulate_media(media="print", color_scheme="dark")
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)"
    )
    assert len(visible_pictures(opened)) == 5
    assert not opened.locator("summary", has_text="as a table").first.is_visible()
    assert opened.pdf(format="A4").startswith(b"%PDF")
