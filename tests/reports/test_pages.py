import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from emsearch.ledger.store import Ledger
from emsearch.records.trial import Stage
from emsearch.reports.pages import duration, write_report

Make = Callable[..., tuple[Ledger, Path]]

VOID = {"meta", "img", "link", "br", "input", "wbr"}
SVG_WITHOUT_END = {"rect", "circle", "path", "line", "polyline"}


class Checker(HTMLParser):
    """Notes tags that are not closed in their order, and every text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag not in VOID | SVG_WITHOUT_END:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def parsed(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    return checker


@pytest.fixture(scope="module")
def html(ledger: Ledger, folder: Path) -> str:
    path = write_report(ledger, folder)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_needs_nothing_else(html: str) -> None:
    page = parsed(html)
    assert page.sources
    assert all(source.startswith("data:image/") for source in page.sources)
    assert "script" not in page.tags
    assert not re.search(r"(?:https?:)?//[a-z]|@import|url\(", html)


def test_the_page_says_first_what_the_search_found(html: str) -> None:
    first = html.split("<section>", maxsplit=1)[0]
    assert re.search(r"The ensemble of 3 networks reaches a mean IoU of 0\.\d{3} on test", first)
    assert "the baseline&#39;s own ensemble" in first


@pytest.mark.parametrize(
    "heading",
    [
        "What the search found",
        "Segmentations",
        "Leaderboard",
        "How the search went",
        "Score against size and time",
        "Which module mattered",
        "The best tree",
        "Tuning",
        "How attempts ended",
        "Study file",
    ],
)
def test_a_finished_study_has_every_section(html: str, heading: str) -> None:
    assert f"<h2>{heading}</h2>" in html


def test_every_candidate_and_every_curve_is_there(html: str) -> None:
    assert html.count('<code title="encoder_decoder_2d">') == 29
    drawn = set(re.findall(r"<title>candidate (\d+), trial (\d+): ", html))
    candidates = {candidate for candidate, _ in drawn}
    assert "0" in candidates  # the baseline's seeds are
    assert 13 < len(candidates) <= 25  # and at most twelve candidates of each rung
    progress, fronts = 4, 2
    assert html.count("<polyline") == len(drawn) + progress + fronts


def test_failures_redraws_versions_and_the_study_file_are_told(html: str) -> None:
    text = " ".join(" ".join(parsed(html).texts).split())
    for told in (
        "diverged",
        "the loader met a NaN in v0",
        "38 for max_parameters=300,000",
        "0.1.0+abc1234",
    ):
        assert told in text
    assert 'name = "vnc"' in text
    assert "torch 2." in text


def test_each_painted_class_has_its_colour(html: str) -> None:
    legend = re.findall(r'<i class="swatch" style="background:(#\w{6})"></i>(\w+)', html)
    assert [name for _, name in legend] == ["membrane", "mitochondria", "synapse", "glia"]
    assert len({colour for colour, _ in legend}) == 4


def test_hostile_names_and_logs_stay_text(make_study: Make) -> None:
    hostile = "<script>alert(1)</script>"
    classes = (hostile, '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "synapse", "glia")
    ledger, folder = make_study(classes=classes, detail=f"line\n{hostile}")
    (folder / "study.toml").write_text(f"# </pre>{hostile}")
    page = parsed(write_report(ledger, folder).read_text())
    assert "script" not in page.tags
    assert "x" not in page.sources
    text = "".join(page.texts)
    assert f"</pre>{hostile}" in text
    assert "{{ 7 * 7 }}" in text


def test_a_picture_outside_the_study_is_not_shown(make_study: Make) -> None:
    ledger, folder = make_study()
    outside = folder.parent / "secret.png"
    outside.write_bytes(b"not yours")
    for kept in folder.glob("tasks/*/*.png"):
        kept.unlink()
        kept.symlink_to(outside)
    assert "<h2>Segmentations</h2>" not in write_report(ledger, folder).read_text()


def test_an_unfinished_study_has_a_page_that_says_so(make_study: Make) -> None:
    ledger, folder = make_study(Stage.TUNING)
    html = write_report(ledger, folder).read_text()
    parsed(html)
    assert "No ensemble has been selected yet." in html
    assert "The study is not finished: tuning." in html
    assert "<h2>What the search found</h2>" not in html


def test_a_study_without_candidates_has_a_page(make_study: Make) -> None:
    ledger, folder = make_study(Stage.IMPORTING)
    with ledger._engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        tables = "class_scores evaluations attempts orders trials rankings candidates decisions"
        for table in tables.split():
            connection.exec_driver_sql(f"DELETE FROM {table}")  # noqa: S608
    html = write_report(ledger, folder).read_text()
    assert "No candidate has been drawn yet." in html
    assert "No attempt has ended yet." in html


def test_the_page_replaces_the_one_before(ledger: Ledger, folder: Path) -> None:
    assert write_report(ledger, folder).read_text() == write_report(ledger, folder).read_text()
    assert [path.name for path in folder.glob("*report*")] == ["report.html"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(42, "42 s"), (3240, "54 min"), (11520, "3 h 12 min"), (187200, "2 d 4 h")],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text
