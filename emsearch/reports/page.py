"""All that the report's page shows, read from the ledger at one moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import Connection

from emsearch.ledger import queries
from emsearch.records.trial import TrialState
from emsearch.reports.board import Board, read_board
from emsearch.reports.charts import learning_curves, scores_by_size, scores_by_time
from emsearch.reports.endings import (
    CauseLine,
    FailedTrial,
    cause_lines,
    failed_trials,
    redrawn,
)
from emsearch.reports.figures import Chart
from emsearch.reports.influence import Influences, influences
from emsearch.reports.leaderboard import Entry, leaderboard
from emsearch.reports.pictures import Picture, class_colours, drawing, overlays
from emsearch.reports.progress import Progress, read_progress
from emsearch.reports.standings import (
    SplitTable,
    Standing,
    find_kind,
    headline,
    split_tables,
    standings,
)
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

_GOALS = {
    "best_networks": "the expected best of four further trainings",
    "reliable_architecture": "the expectation of a further training",
}
_LIBRARIES = ("torch", "numpy", "zarr", "optuna", "sqlalchemy")


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
    board: Board
    ranked_by: str
    """What candidates are ranked by, in words: the study's goal."""
    curves: Chart | None
    scatter: Chart | None
    by_time: Chart | None
    progress: Progress | None
    influences: Influences | None
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
    colours: tuple[tuple[str, str], ...]
    """Classes and their colours in the overlays; the first class is not painted."""
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
    shown = [one for place, one in enumerate(entries) if place < MOST_ROWS or one.baseline]
    rungs = study.spec["search"]["rungs"]
    return Page(
        status=status(connection, study.id),
        seed=study.seed,
        created_s=study.created_s,
        ended_s=study.ended_s,
        headline=headline(found),
        classes=classes,
        splits=split_tables(found),
        ensemble=find_kind(found, "ensemble"),
        board=read_board(connection, study.id, shown, classes),
        ranked_by=_GOALS[study.spec["search"].get("goal", "reliable_architecture")],
        curves=learning_curves(connection, study.id, _drawn(entries), rungs),
        scatter=scores_by_size(entries),
        by_time=scores_by_time(connection, study.id, entries),
        progress=read_progress(connection, study.id, rungs[-1]),
        influences=influences(connection, study.id, rungs[0]),
        tuned=tuned_tables(connection, study.id),
        causes=cause_lines(connection, study.id),
        failures=failed_trials(failed[:MOST_FAILURES]),
        failed=len(failed),
        redrawn=redrawn(connection, study.id),
        winner=winner,
        drawing=None if tree is None else drawing(tree),
        outline="" if tree is None else to_text(tree),
        overlays=overlays(connection, study.id, folder),
        colours=tuple(zip(classes[1:], class_colours(len(classes)), strict=True)),
        study_file=_text(folder / "study.toml"),
        versions=_versions(study.version),
    )


def _drawn(entries: Sequence[Entry]) -> list[int]:
    """Return whose learning curves are drawn: the best of those that came to each rung, as many."""
    steps = sorted({entry.step for entry in entries if entry.step})
    own = [one for one in entries if not one.baseline]
    at_each = MOST_CURVES // max(len(steps), 1)
    best = [[one for one in own if one.step == step][:at_each] for step in steps]
    baseline = [one for one in entries if one.baseline]
    return [one.candidate for some in (*best, baseline) for one in some]


def _winner(entries: Sequence[Entry], found: Sequence[Standing]) -> Entry | None:
    """Return the candidate of the best single network, or the first of the ranking."""
    single = find_kind(found, "single")
    by_number = {entry.candidate: entry for entry in entries}
    if single and single.members and single.members[0].candidate in by_number:
        return by_number[single.members[0].candidate]
    return entries[0] if entries else None


def _tree(connection: Connection, study_id: int, winner: Entry | None) -> Tree | None:
    if winner is None:
        return None
    row = queries.candidates(connection, study_id, winner.candidate)[0]
    return Tree.from_dict(row.structure)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _versions(begun_with: str) -> tuple[tuple[str, str], ...]:
    return (("emsearch", begun_with), *((name, version(name)) for name in _LIBRARIES))
