"""The leaderboard as a page draws it: intervals on a common axis, classes beside them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from emsearch.reports.figures import Span, span
from emsearch.reports.leaderboard import Entry, means_by_class

__all__ = ["Board", "Row", "read_board"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A line of the leaderboard."""

    entry: Entry
    span: Span | None
    """Its interval on the leaderboard's common axis; None without a score."""
    classes: tuple[float | None, ...]
    """Mean overlap of each class over its seeds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Board:
    """Lines of the leaderboard."""

    classes: tuple[str, ...]
    rows: tuple[Row, ...]
    baseline: Span | None
    """Of the baseline, on the common axis; None where it is not among the lines."""


def read_board(
    connection: Connection, study_id: int, entries: Sequence[Entry], classes: Sequence[str]
) -> Board:
    """Return these entries as lines."""
    means = means_by_class(connection, study_id, [entry.candidate for entry in entries])
    ends = [end for one in entries for end in (one.score_low, one.score_high) if end is not None]
    within = (min(ends), max(ends)) if ends else (0.0, 1.0)
    rows = tuple(
        Row(
            entry=entry,
            span=_span(entry, within),
            classes=tuple(means.get(entry.candidate, {}).get(n) for n in range(len(classes))),
        )
        for entry in entries
    )
    baseline = next((row.span for row in rows if row.entry.baseline), None)
    return Board(classes=tuple(classes), rows=rows, baseline=baseline)


def _span(entry: Entry, within: tuple[float, float]) -> Span | None:
    if entry.score is None or entry.score_low is None or entry.score_high is None:
        return None
    return span(entry.score_low, entry.score, entry.score_high, within)
