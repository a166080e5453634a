"""What the live pages show, read from the ledger at one moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from emsearch.errors import NotFoundError
from emsearch.ledger import listings, queries
from emsearch.ledger.rows import AnyRow
from emsearch.reports.api import StudyLine
from emsearch.reports.board import Board, read_board
from emsearch.reports.cards import (
    AttemptCard,
    CandidateCard,
    TrialCard,
    attempt_card,
    candidate_card,
    trial_card,
)
from emsearch.reports.charts import learning_curves, scores_by_size, trial_curve
from emsearch.reports.endings import CauseLine, cause_lines
from emsearch.reports.figures import Chart
from emsearch.reports.leaderboard import Entry
from emsearch.reports.logs import log_of
from emsearch.reports.pictures import Picture, caption, class_colours, drawing, overlay_paths
from emsearch.reports.standings import SplitTable, headline, split_tables, standings
from emsearch.reports.status import Status, status
from emsearch.trees.draw import to_text
from emsearch.trees.node import Tree

__all__ = [
    "AttemptPage",
    "CandidatePage",
    "ClusterPage",
    "HomePage",
    "StudiesPage",
    "TrialPage",
    "attempt_page",
    "candidate_page",
    "cluster_page",
    "home_page",
    "overlay_file",
    "trial_page",
]

MOST_CURVES = 12
"""Candidates whose learning curves the first page draws."""
MOST_ATTEMPTS = 200
"""Open attempts on the cluster's page."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HomePage:
    """The study, its ensemble and its leaderboard."""

    name: str
    status: Status
    headline: str
    splits: tuple[SplitTable, ...]
    overlays: tuple[str, ...]
    """What each picture shows."""
    colours: tuple[tuple[str, str], ...]
    """Classes and their colours in the overlays; the first class is not painted."""
    classes: tuple[str, ...]
    families: tuple[str, ...]
    rungs: tuple[int, ...]
    board: Board
    curves: Chart | None
    scatter: Chart | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CandidatePage:
    """One candidate."""

    name: str
    card: CandidateCard
    drawing: Picture
    outline: str
    curves: Chart | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialPage:
    """One trial."""

    name: str
    card: TrialCard
    curve: Chart | None
    log: str
    """End of what its last attempt wrote."""
    overlays: tuple[str, ...]
    """What each of the study's pictures shows, where the trial is in one of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptPage:
    """One attempt."""

    name: str
    card: AttemptCard


@dataclass(frozen=True, kw_only=True, slots=True)
class StudiesPage:
    """The studies of a database."""

    name: str
    studies: tuple[StudyLine, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenAttempt:
    """An attempt that has not ended."""

    attempt: str
    state: str
    kind: str
    trial: int | None
    node: str
    step: int
    since_s: float
    """When it started, or was submitted where it has not, in seconds since the epoch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderLine:
    """Orders of a kind in a state."""

    kind: str
    state: str
    orders: int
    expected_s: float
    """What they were expected to take together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterPage:
    """What runs and waits, and how attempts ended."""

    name: str
    status: Status
    attempts: tuple[OpenAttempt, ...]
    orders: tuple[OrderLine, ...]
    causes: tuple[CauseLine, ...]
    hours: float
    """Of all attempts that ended."""
    gpu_hours: float


def home_page(
    connection: Connection,
    folder: Path,
    entries: Sequence[Entry],
) -> HomePage:
    """Return the first page with these entries on its leaderboard."""
    study = queries.study(connection)
    found = standings(connection, study.id)
    classes = tuple(study.spec["dataset"]["classes"])
    best = [entry.candidate for entry in entries[:MOST_CURVES]]
    return HomePage(
        name=study.name,
        status=status(connection, study.id),
        headline=headline(found),
        splits=split_tables(found),
        overlays=captions(connection, study.id, folder),
        colours=tuple(zip(classes[1:], class_colours(len(classes)), strict=True)),
        classes=classes,
        families=tuple(study.spec["space"]["families"]),
        rungs=tuple(study.spec["search"]["rungs"]),
        board=read_board(connection, study.id, entries, classes),
        curves=learning_curves(connection, study.id, best),
        scatter=scores_by_size(entries),
    )


def candidate_page(connection: Connection, number: int) -> CandidatePage:
    """Return a candidate's page. Raises NotFoundError."""
    study = queries.study(connection)
    card = candidate_card(connection, study.id, number)
    tree = Tree.from_dict(dict(card.structure))
    return CandidatePage(
        name=study.name,
        card=card,
        drawing=drawing(tree),
        outline=to_text(tree),
        curves=learning_curves(connection, study.id, [number]),
    )


def trial_page(connection: Connection, folder: Path, number: int) -> TrialPage:
    """Return a trial's page. Raises NotFoundError."""
    study = queries.study(connection)
    card = trial_card(connection, study.id, number)
    log = log_of(folder, card.attempts[-1].attempt) if card.attempts else ""
    kinds = {"ensemble", "single", "baseline"}
    shown = any(
        one.kind in kinds and number in {member.trial for member in one.members}
        for one in standings(connection, study.id)
    )
    return TrialPage(
        name=study.name,
        card=card,
        curve=trial_curve(card),
        log=log,
        overlays=captions(connection, study.id, folder) if shown else (),
    )


def attempt_page(connection: Connection, folder: Path, name: str) -> AttemptPage:
    """Return an attempt's page. Raises NotFoundError."""
    study = queries.study(connection)
    return AttemptPage(name=study.name, card=attempt_card(connection, study.id, folder, name))


def cluster_page(connection: Connection) -> ClusterPage:
    """Return what the cluster does for the study."""
    study = queries.study(connection)
    causes = cause_lines(connection, study.id)
    attempts = listings.open_attempts(connection, study.id, MOST_ATTEMPTS)
    orders = listings.order_counts(connection, study.id)
    return ClusterPage(
        name=study.name,
        status=status(connection, study.id),
        attempts=tuple(_open_attempt(row) for row in attempts),
        orders=tuple(
            OrderLine(kind=row.kind, state=row.state, orders=row.orders, expected_s=row.expected_s)
            for row in orders
        ),
        causes=causes,
        hours=sum(line.hours for line in causes),
        gpu_hours=sum(line.gpu_hours for line in causes),
    )


def captions(connection: Connection, study_id: int, folder: Path) -> tuple[str, ...]:
    """Return what each of the study's overlays shows, in their order."""
    return tuple(caption(path.stem) for path in overlay_paths(connection, study_id, folder))


def overlay_file(connection: Connection, folder: Path, place: int) -> Path:
    """Return the overlay at a place, from 0. Raises NotFoundError."""
    paths = overlay_paths(connection, queries.study(connection).id, folder)
    if place >= len(paths):
        raise NotFoundError(f"no overlay {place} in this study; it has {len(paths)}")
    return paths[place]


def _open_attempt(row: AnyRow) -> OpenAttempt:
    return OpenAttempt(
        attempt=row.name,
        state=row.state,
        kind=row.kind,
        trial=row.trial_id,
        node=row.node,
        step=row.step,
        since_s=row.created_s if row.started_s is None else row.started_s,
    )
