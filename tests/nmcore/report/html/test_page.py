"""The report as a page: what is on it, and that nothing on it runs or is fetched."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from account import outcome, report
from nmcore.evaluation.fidelity import Fidelity
from nmcore.group import Cost, Declined
from nmcore.report.html import page
from nmcore.report.report import Measures

VOID = {"meta", "br"}
HOSTILE = [
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title></style><svg onload=alert(1)>",
    "' onmouseover='alert(1)",
    "<!--",
    "]]>&lt;",
    "javascript:alert(1)",
    "{color:red} url(http://example.com/x.png)",
    "a\u202egnp.\ud800\x00\x1b[31m",
]


class Page(HTMLParser):
    """Elements with their attributes and words; it complains about what is not nested."""

    def __init__(self, source):
        super().__init__()
        self.elements = []
        self.words = []
        self.open = []
        self.comments = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs), attrs
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    def handle_comment(self, data):
        self.comments.append(data)

    @property
    def text(self):
        return " ".join(self.words)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def pictures(self):
        return [a["aria-label"] for a in self.all("svg") if a.get("role") == "img"]


def merged():
    groups = [
        outcome("conv1", 16, 8),
        outcome("conv2", 100, 60, seed=1),
        outcome("same", 4, 4, seed=2),
    ]
    return report(*groups)


def measured():
    return report(*(outcome(f"conv{n}", 16, 8, method="moments", seed=n) for n in range(4)))


@pytest.mark.parametrize("make", [merged, measured, report])
def test_it_is_one_well_formed_file_that_fetches_and_runs_nothing(make):
    source = page(make())
    parsed = Page(source)
    assert source.startswith("<!doctype html>")
    assert parsed.all("html") == [{"lang": "en"}]
    tags = {tag for tag, _ in parsed.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "use"}
    for tag, attributes in parsed.elements:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert not {"src", "href", "srcset", "action", "style"} & set(attributes)
    assert "url(" not in source
    assert "@import" not in source
    (policy,) = (a for a in parsed.all("meta") if a.get("http-equiv"))
    assert policy["content"].startswith("default-src 'none'")


def test_the_pictures_of_a_merge():
    words = Page(page(merged()))
    channels, similarity, *z = words.pictures()
    assert channels.startswith("Channels of every group")
    assert similarity.startswith("Removed channels by their similarity")
    assert len(z) == 3
    assert z[0] == "Z: 8 rows, 8 unit columns and 8 others"
    choices = [a for a in words.all("details") if a.get("name") == "z"]
    assert [("open" in choice) for choice in choices] == [False, True, False]
    assert "threshold 0.3" in words.text


def test_the_pictures_of_the_default_method():
    words = Page(page(measured()))
    channels, errors = words.pictures()
    assert channels.startswith("Channels of every group")
    assert errors.startswith("Error against the share of channels removed")
    assert len(words.all("polyline")) == len(words.all("circle")) == 4
    assert "no Z to draw" in words.text
    assert "Measured on the original network" in words.text


def test_every_picture_has_its_numbers_in_a_table():
    assert len(Page(page(merged())).all("table")) == 3
    tables = Page(page(measured()))
    assert len(tables.all("table")) == 4
    assert all(cell.get("scope") in ("row", "col") for cell in tables.all("th"))


def test_the_headline():
    words = Page(page(merged())).text
    for said in ("60 %", "600 of 1,000", "50 %", "2.4 kB of 4 kB", "75 %", "1.5 ms of 2 ms"):
        assert said in words
    for said in ("91.25 %", "92.50 % before, on 200 inputs", "97.50 %", "a.onnx"):
        assert said in words
    assert "Measured on synthetic inputs." in words
    assert "verified" in words


def test_what_is_not_known_is_not_claimed():
    unknown = Measures.of(Cost(3, 1000, None), 4000, None)
    words = Page(
        page(report(outcome(), before=unknown, fidelity=None, provider=None, threads=None))
    ).text
    for absent in ("MACs", "Latency", "Accuracy", "latency"):
        assert absent not in words


def test_what_was_left_alone_is_counted_by_reason():
    places = [Declined(f"add{n}", "Add", f"it meets 'x{n}'") for n in range(30)]
    words = Page(page(report(outcome(), declined=[*places, Declined("fc", "Gemm", "the output")])))
    assert "30 nodes: it meets" in words.text
    assert "1 node: the output" in words.text
    assert all(f"add{n}" in words.words for n in range(30))


def test_how_to_get_the_same_again():
    words = Page(page(merged())).words
    assert "nmcore compress a.onnx b.onnx" in words
    assert {"seed", "7", "numpy", "python", "cpu, 2 threads"} <= set(words)


def test_a_model_of_which_nothing_could_be_removed():
    words = Page(page(report(after=merged().before))).text
    assert "No channel was removed." in words
    assert "its channels are the output" in words


def hostile_report(name):
    groups = [outcome(name, 16, 8), outcome(name, 16, 8, method="moments")]
    return report(
        *groups,
        declined=(Declined(name, name, name),),
        notes=(name,),
        command=name,
        model=name,
        versions={name: name},
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_names_from_strangers_stay_text(name):
    source = page(hostile_report(name))
    parsed, harmless = Page(source), Page(page(hostile_report("harmless")))
    assert [tag for tag, _ in parsed.elements] == [tag for tag, _ in harmless.elements]
    keys = [set(attributes) for _, attributes in parsed.elements]
    assert keys == [set(attributes) for _, attributes in harmless.elements]
    assert parsed.comments == []
    source.encode()
    assert not re.search("[\u202e\x00\x1b]", source)
    if name.isprintable():
        assert name in parsed.words


def test_hundreds_of_groups_make_a_page_of_bounded_size():
    many = [outcome(f"layer{n}", 256, 100, seed=n) for n in range(300)]
    many += [outcome(f"block{n}", 256, 100, method="moments", seed=n) for n in range(300)]
    whole = report(*many[:12], *many[300:])
    assert len(page(whole)) < 1_000_000
    assert len(page(report(*many[:1], *many[300:301]))) < 60_000
    assert page(whole).count("<table") == 5


@pytest.mark.parametrize("width", [1, 2, 100_000])
def test_extreme_widths(width):
    one = outcome("a", width, 1, method="moments")
    assert Page(page(report(one))).pictures()


def test_errors_of_zero_have_no_picture():
    group = outcome(method="moments")
    group.curve.error[:] = 0
    assert len(Page(page(report(group))).pictures()) == 1


def test_a_lost_result_is_warned_of_at_the_top():
    lost = Fidelity("data.npz", 200, 92.5, 10.0, 12.0, 90.0)
    text = page(report(outcome(), fidelity=lost))
    assert '<p class="warning">Accuracy is probably gone: ' in text
    assert text.index("Accuracy is probably gone") < text.index("<main>")
    assert 'class="warning"' not in page(report(outcome()))


def test_made_inputs_are_told_from_data():
    made = Fidelity("synthetic inputs", 64, None, None, 90.0, 5.0, synthetic=True)
    text = page(report(outcome(), fidelity=made))
    assert "as before, on 64 synthetic inputs" in text
    assert "not how good" in text
    assert "may have been fitted to" not in text
