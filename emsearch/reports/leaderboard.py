"""The leaderboard: candidates, best first, each with the interval that its score lies in."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import fmean
from typing import Any

from sqlalchemy import Connection

from emsearch.errors import NotFoundError
from emsearch.ledger import leaders, listings, queries, ranks
from emsearch.ledger.leaders import Sorting, Wanted
from emsearch.ledger.rows import AnyRow
from emsearch.records.candidate import Origin
from emsearch.reports.cards import utc

__all__ = [
    "COLUMNS",
    "SCORE_NAME",
    "Entry",
    "chosen_columns",
    "leaderboard",
    "means_by_class",
    "measure_of",
    "merged",
]

SCORE_NAME = ranks.MEASURES[0]
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

    study: str
    rank: int
    """Place among all candidates of the study, whichever of them are listed."""
    candidate: int
    tree: str
    """Digest of its tree."""
    family: str
    origin: Origin
    baseline: bool
    parent: int | None
    """The survivor whose recipe was tuned; None for other candidates."""
    parameters: int
    memory_gb: float
    """Predicted memory of a training step."""
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
    best_chance: float | None
    """Probability that its mean, failures counted, is the highest of those ranked with it."""
    failure_rate: float | None
    """Expected share of its trainings that fail: few seeds are drawn towards all candidates'."""
    score_name: str
    updated: str
    """When its latest result was made, in UTC; empty without one."""


def leaderboard(
    connection: Connection,
    study_id: int,
    most: int | None = None,
    wanted: Wanted | None = None,
    by: str | None = None,
    sorting: Sorting = Sorting.RANK,
) -> list[Entry]:
    """Return the `most` first of the wanted candidates, best first, all of them by default.

    Scores are posterior means of the mean IoU; with `by`, the name of a class or of another
    measure, of that. Raises NotFoundError for a measure that the study has not.
    """
    study = queries.study(connection)
    measure = measure_of(by, study.spec["dataset"]["classes"]) if by else SCORE_NAME
    name = f"iou_{by}" if measure.startswith("iou_") else measure
    found = leaders.ranked(connection, study_id, most, wanted, measure=measure, sorting=sorting)
    return [_entry(row, study.name, name) for row in found]


def merged(boards: Sequence[Sequence[Entry]], sorting: Sorting) -> list[Entry]:
    """Return the entries of several studies as one list, each study's own left as they are.

    Studies differ in rungs and places, so that together candidates stand by their score, or by
    what is sorted by.
    """
    entries = [entry for board in boards for entry in board]
    if len(boards) < 2:
        return entries
    keys: dict[Sorting, Callable[[Entry], Any]] = {
        Sorting.RANK: lambda one: -1.0 if one.score is None else one.score,
        Sorting.CANDIDATE: lambda one: -one.candidate,
        Sorting.PARAMETERS: lambda one: -one.parameters,
        Sorting.MEMORY: lambda one: -one.memory_gb,
        Sorting.FAILED: lambda one: one.failed,
        Sorting.DATE: lambda one: one.updated,
    }
    return sorted(entries, key=keys[sorting], reverse=True)


def chosen_columns(asked: str | None, *, short: bool, several: bool) -> tuple[str, ...]:
    """Return the columns that a user named, by default all, or the `short` selection.

    Raises NotFoundError that lists the known ones.
    """
    if asked is None:
        return ((("study",) if several else ()) + COLUMNS) if short else ()
    known = [field.name for field in fields(Entry)]
    names = tuple(name.strip() for name in asked.split(","))
    for name in names:
        if name not in known:
            raise NotFoundError(f"no column {name!r}; there are {', '.join(known)}")
    return names


def measure_of(by: str, classes: Sequence[str]) -> str:
    """Return the measure of that name, or of the class of that name. Raises NotFoundError."""
    if by in classes:
        return ranks.class_measure(list(classes).index(by))
    if by in ranks.MEASURES:
        return by
    known = ", ".join([*classes, *ranks.MEASURES])
    raise NotFoundError(f"no class or measure {by!r} in this study; it has {known}")


def means_by_class(
    connection: Connection, study_id: int, candidates: Sequence[int]
) -> Mapping[int, Mapping[int, float | None]]:
    """Return for these candidates each class's mean overlap over the seeds, where it is ranked.

    None stands for a class that no seed could be scored on.
    """
    scores: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in listings.classes_of_ranked(connection, study_id, candidates):
        known = scores[row.candidate][row.class_number]
        if row.iou is not None:
            known.append(row.iou)
    return {
        candidate: {number: fmean(ious) if ious else None for number, ious in classes.items()}
        for candidate, classes in scores.items()
    }


def _entry(row: AnyRow, study: str, score_name: str) -> Entry:
    return Entry(
        study=study,
        rank=row.rank,
        candidate=row.candidate,
        tree=row.tree,
        family=row.family,
        origin=Origin(row.origin),
        baseline=row.origin == Origin.BASELINE,
        parent=row.parent,
        parameters=row.parameters,
        memory_gb=row.memory_gb,
        learning_rate=row.recipe["learning_rate"],
        step=row.step,
        trials=row.trials,
        failed=row.failed,
        score=row.score,
        score_low=row.score_low,
        score_high=row.score_high,
        best_chance=row.best,
        failure_rate=row.failure_rate,
        score_name=score_name,
        updated=utc(row.at_s),
    )
