"""All that the report's page shows, read from the ledger at one moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import Connection

from emsearch.ledger import listings, queries
from emsearch.ledger.rows import AnyRow
from emsearch.records.candidate import Origin
from emsearch.records.score import Score, Split
from emsearch.records.trial import TrialState
from emsearch.reports.endings import (
    CauseLine,
    FailedTrial,
    cause_lines,
    failed_trials,
    redrawn,
)
from emsearch.reports.figures import Chart, Point, Series, Span, curves, scatter, short, span
from emsearch.reports.leaderboard import Entry, leaderboard, means_by_class
from emsearch.reports.pictures import Picture, drawing, overlays
from emsearch.reports.standings import Standing, find_kind, headline, standings
from emsearch.reports.status import Status, status
from emsearch.reports.tuned import TunedTable, tuned_tables
from emsearch.trees.draw import to_text
from emsearch.trees.node import Tree

__all__ = ["Page", "read_page"]

MOST_ROWS = 50
"""Candidates on the page's leaderboard."""
MOST_CURVES = 24
"""Candidates whose learning curves are drawn."""
MOST_POINTS = 500
"""Candidates in the chart of scores against parameters."""
MOST_FAILURES = 40
"""Failed trials listed with their reason."""

_LIBRARIES = ("torch", "numpy", "zarr", "optuna", "sqlalchemy")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A line of the leaderboard."""

    entry: Entry
    span: Span | None
    """Its interval on the leaderboard's common axis; None without a score."""
    classes: tuple[float | None, ...]
    """Mean overlap of each class over its seeds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitTable:
    """The ensemble and its rivals on one split."""

    split: Split
    rows: tuple[tuple[Standing, Score], ...]
    best_mean: float
    best_K: tuple[float | None, ...]
    """Best overlap of each class among the rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """All that the page shows."""

    status: Status
    seed: int
    created_s: float
    ended_s: float | None
    headline: str
    classes: tuple[str, ...]
    splits: tuple[SplitTable, ...]
    ensemble: Standing | None
    rows: tuple[Row, ...]
    baseline: Span | None
    """Of the baseline, on the leaderboard's common axis."""
    curves: Chart | None
    scatter: Chart | None
    tuned: tuple[TunedTable, ...]
    causes: tuple[CauseLine, ...]
    failures: tuple[FailedTrial, ...]
    failed: int
    """All failed trials; `failures` holds the first of them."""
    redrawn: tuple[tuple[str, int], ...]
    """Why random trees were drawn again, and how often, the commonest first."""
    winner: Entry | None
    drawing: Picture | None
    """Of the winner's tree."""
    outline: str
    """The same tree as text."""
    overlays: tuple[Picture, ...]
    study_file: str
    versions: tuple[tuple[str, str], ...]


def read_page(connection: Connection, folder: Path) -> Page:
    """Return what the page of the study in `folder` shows."""
    study = queries.study(connection)
    found = standings(connection, study.id)
    entries = leaderboard(connection, study.id, MOST_POINTS)
    classes = tuple(study.spec["dataset"]["classes"])
    failed = queries.trials_of(connection, study.id, TrialState.FAILED)
    winner = _winner(entries, found)
    tree = _tree(connection, study.id, winner)
    rows, baseline = _rows(entries, means_by_class(connection, study.id), len(classes))
    return Page(
        status=status(connection, study.id),
        seed=study.seed,
        created_s=study.created_s,
        ended_s=study.ended_s,
        headline=headline(found),
        classes=classes,
        splits=_splits(found, len(classes)),
        ensemble=find_kind(found, "ensemble"),
        rows=rows,
        baseline=baseline,
        curves=_curves(connection, study.id, entries),
        scatter=_scatter(entries),
        tuned=tuned_tables(connection, study.id),
        causes=cause_lines(connection, study.id),
        failures=failed_trials(failed[:MOST_FAILURES]),
        failed=len(failed),
        redrawn=redrawn(connection, study.id),
        winner=winner,
        drawing=None if tree is None else drawing(tree),
        outline="" if tree is None else to_text(tree),
        overlays=overlays(connection, study.id, folder),
        study_file=_text(folder / "study.toml"),
        versions=_versions(study.version),
    )


def _winner(entries: Sequence[Entry], found: Sequence[Standing]) -> Entry | None:
    """Return the candidate of the best single network, or the first of the ranking."""
    single = find_kind(found, "single")
    by_number = {entry.candidate: entry for entry in entries}
    if single and single.members and single.members[0].candidate in by_number:
        return by_number[single.members[0].candidate]
    return entries[0] if entries else None


def _splits(found: Sequence[Standing], classes: int) -> tuple[SplitTable, ...]:
    return tuple(
        table
        for split in (Split.TEST, Split.VALIDATION)
        if (table := _split_table(found, split, classes)) is not None
    )


def _split_table(found: Sequence[Standing], split: Split, classes: int) -> SplitTable | None:
    rows = tuple((one, score) for one in found if (score := one.score(split)) is not None)
    if not rows:
        return None
    by_class = [[score.iou_K[number] for _, score in rows] for number in range(classes)]
    known = [[iou for iou in ious if iou is not None] for ious in by_class]
    return SplitTable(
        split=split,
        rows=rows,
        best_mean=max(score.mean_iou for _, score in rows),
        best_K=tuple(max(ious) if ious else None for ious in known),
    )


def _rows(
    entries: Sequence[Entry], means: Mapping[int, Mapping[int, float | None]], classes: int
) -> tuple[tuple[Row, ...], Span | None]:
    """Return the leaderboard's lines, the baseline's among them, and the baseline's interval."""
    shown = [entry for place, entry in enumerate(entries) if place < MOST_ROWS or entry.baseline]
    ends = [
        end for entry in shown for end in (entry.score_low, entry.score_high) if end is not None
    ]
    within = (min(ends), max(ends)) if ends else (0.0, 1.0)
    rows = tuple(
        Row(
            entry=entry,
            span=_span(entry, within),
            classes=tuple(means.get(entry.candidate, {}).get(n) for n in range(classes)),
        )
        for entry in shown
    )
    return rows, next((row.span for row in rows if row.entry.baseline), None)


def _span(entry: Entry, within: tuple[float, float]) -> Span | None:
    if entry.score is None or entry.score_low is None or entry.score_high is None:
        return None
    return span(entry.score_low, entry.score, entry.score_high, within)


def _curves(connection: Connection, study_id: int, entries: Sequence[Entry]) -> Chart | None:
    chosen = [e.candidate for place, e in enumerate(entries) if place < MOST_CURVES or e.baseline]
    by_trial: dict[int, list[AnyRow]] = {}
    for row in listings.curves_of(connection, study_id, chosen):
        by_trial.setdefault(row.trial, []).append(row)
    if not by_trial:
        return None
    series = [
        Series(
            points=tuple((float(row.step), row.mean_iou) for row in rows),
            kind=rows[0].origin,
            title=f"candidate {rows[0].candidate}, trial {trial}: {rows[-1].mean_iou:.3f} "
            f"at step {rows[-1].step}",
        )
        for trial, rows in by_trial.items()
    ]
    series.sort(key=lambda one: one.kind == Origin.BASELINE)  # drawn last, it lies on top
    return curves(series, "Mean IoU on validation of each trial over its training steps")


def _scatter(entries: Sequence[Entry]) -> Chart | None:
    points = [
        Point(
            x=float(entry.parameters),
            y=entry.score,
            low=entry.score_low,
            high=entry.score_high,
            kind=entry.origin,
            title=f"candidate {entry.candidate}: {entry.score:.3f}, "
            f"{short(entry.parameters)} parameters, step {entry.step}",
        )
        for entry in entries
        if entry.score is not None
    ]
    if not points:
        return None
    points.sort(key=lambda one: one.kind == Origin.BASELINE)
    label = "Score of each candidate with its interval against its parameters"
    return scatter(points, "parameters", "score (mean IoU, validation)", label)


def _tree(connection: Connection, study_id: int, winner: Entry | None) -> Tree | None:
    if winner is None:
        return None
    row = queries.candidates(connection, study_id, winner.candidate)[0]
    return Tree.from_dict(row.structure)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _versions(begun_with: str) -> tuple[tuple[str, str], ...]:
    return (("emsearch", begun_with), *((name, version(name)) for name in _LIBRARIES))
