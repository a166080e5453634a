"""The leaderboard: candidates, best first, each with the interval that its score lies in."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from sqlalchemy import Connection

from emsearch.ledger import listings
from emsearch.ledger.rows import AnyRow
from emsearch.records.candidate import Origin

__all__ = ["COLUMNS", "SCORE_NAME", "Entry", "leaderboard", "means_by_class"]

SCORE_NAME = "mean_iou"
"""What candidates are ranked by: the mean over classes, on validation."""

COLUMNS = (
    "rank",
    "candidate",
    "origin",
    "tree",
    "family",
    "parameters",
    "step",
    "trials",
    "failed",
    "score",
    "score_low",
    "score_high",
)
"""What a table for people shows of an entry."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A candidate on the leaderboard."""

    rank: int
    candidate: int
    tree: str
    """Digest of its tree."""
    family: str
    origin: Origin
    baseline: bool
    parent: int | None
    """The survivor whose recipe was tuned; None for other candidates."""
    parameters: int
    learning_rate: float
    step: int
    """Training steps after which it was scored last; 0 where it never was."""
    trials: int
    failed: int
    """How many of its trials cannot be trained."""
    score: float | None
    """Posterior mean; None where no trial has come to a score."""
    score_low: float | None
    """Between this and `score_high` its true mean lies with 90 % probability."""
    score_high: float | None
    score_name: str


def leaderboard(connection: Connection, study_id: int, most: int | None = None) -> list[Entry]:
    """Return the `most` best candidates of a study, all of them by default."""
    return [_entry(row) for row in listings.ranked(connection, study_id, most)]


def means_by_class(
    connection: Connection, study_id: int
) -> Mapping[int, Mapping[int, float | None]]:
    """Return for each candidate each class's mean overlap over its seeds, where it is ranked.

    None stands for a class that no seed could be scored on.
    """
    scores: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in listings.classes_of_ranked(connection, study_id):
        known = scores[row.candidate][row.class_number]
        if row.iou is not None:
            known.append(row.iou)
    return {
        candidate: {number: fmean(ious) if ious else None for number, ious in classes.items()}
        for candidate, classes in scores.items()
    }


def _entry(row: AnyRow) -> Entry:
    return Entry(
        rank=row.rank,
        candidate=row.candidate,
        tree=row.tree,
        family=row.family,
        origin=Origin(row.origin),
        baseline=row.origin == Origin.BASELINE,
        parent=row.parent,
        parameters=row.parameters,
        learning_rate=row.recipe["learning_rate"],
        step=row.step,
        trials=row.trials,
        failed=row.failed,
        score=row.score,
        score_low=row.score_low,
        score_high=row.score_high,
        score_name=SCORE_NAME,
    )
