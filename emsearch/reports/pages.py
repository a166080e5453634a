"""The report: one HTML file that needs nothing else, neither the network nor a script."""

from dataclasses import fields
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from emsearch.ledger.store import Ledger
from emsearch.records.files import replacing
from emsearch.reports.cards import utc
from emsearch.reports.figures import short
from emsearch.reports.page import Page, read_page

__all__ = ["duration", "render", "templates", "write_report"]


def write_report(ledger: Ledger, folder: Path) -> Path:
    """Write the report of the study in `folder` to its report.html and return that path."""
    with ledger.reading() as connection:
        page = read_page(connection, folder)
    path = folder / "report.html"
    with replacing(path) as scratch:
        scratch.write_text(render(page), encoding="utf-8")
    return path


def render(page: Page) -> str:
    """Return the page as HTML. Whatever came from a log or a study file stays text in it."""
    template = templates().get_template("report.html.jinja")
    return template.render({field.name: getattr(page, field.name) for field in fields(page)})


@cache
def templates() -> Environment:
    """Return the templates of the report and of the live pages; all escape what they are given."""
    environment = Environment(
        loader=PackageLoader("emsearch", "reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "score": _score,
        "signed": _signed,
        "short": short,
        "utc": utc,
        "duration": duration,
    }
    return environment


def duration(seconds: float) -> str:
    """Return seconds as people say them: 42 s, 54 min, 3 h 12 min, 2 d 4 h."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")
