"""The leaderboard: candidates, best first, each with the interval that its score lies in."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from sqlalchemy import Connection

from emsearch.errors import NotFoundError
from emsearch.ledger import listings, queries
from emsearch.ledger.listings import Wanted
from emsearch.ledger.rows import AnyRow
from emsearch.ranking.posterior import Ranked, Result, rank
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
    score_name: str


def leaderboard(
    connection: Connection,
    study_id: int,
    most: int | None = None,
    wanted: Wanted | None = None,
    by: str | None = None,
) -> list[Entry]:
    """Return the `most` best of the wanted candidates, all of them by default.

    Scores are posterior means of the mean IoU; with `by`, the name of a class, of its IoU, and
    ranks and order follow from them. Raises NotFoundError for a class that the study has not.
    """
    if by is None:
        return [_entry(row) for row in listings.ranked(connection, study_id, most, wanted)]
    number = _class_number(connection, by)
    entries = [_entry(row) for row in listings.ranked(connection, study_id, None, wanted)]
    places = _ranked_by_class(connection, study_id, number)
    found = [_by_class(entry, places, f"iou_{by}") for entry in entries]
    return sorted(found, key=lambda entry: (entry.rank, entry.candidate))[:most]


def _class_number(connection: Connection, name: str) -> int:
    classes = queries.study(connection).spec["dataset"]["classes"]
    if name not in classes:
        raise NotFoundError(f"no class {name!r} in this study; it has {', '.join(classes)}")
    return int(classes.index(name))


def _ranked_by_class(
    connection: Connection, study_id: int, number: int
) -> dict[int, tuple[int, Ranked]]:
    """Return each candidate's place and posterior: higher rungs first, as in the ranking."""
    by_rung: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in listings.classes_of_ranked(connection, study_id, number):
        if row.iou is not None:
            by_rung[row.step][row.candidate].append(row.iou)
    ranked = [
        one
        for step in sorted(by_rung, reverse=True)
        for one in rank(
            Result(candidate=candidate, scores=tuple(ious))
            for candidate, ious in by_rung[step].items()
        )
    ]
    return {one.candidate: (place, one) for place, one in enumerate(ranked, start=1)}


def _by_class(entry: Entry, places: Mapping[int, tuple[int, Ranked]], name: str) -> Entry:
    """Return the entry with its class's place and score; without one it shares the last place."""
    place, one = places.get(entry.candidate, (len(places) + 1, None))
    return replace(
        entry,
        rank=place,
        score=one.mean if one else None,
        score_low=one.low if one else None,
        score_high=one.high if one else None,
        score_name=name,
    )


def means_by_class(
    connection: Connection, study_id: int, candidates: Sequence[int]
) -> Mapping[int, Mapping[int, float | None]]:
    """Return for these candidates each class's mean overlap over the seeds, where it is ranked.

    None stands for a class that no seed could be scored on.
    """
    scores: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in listings.classes_of_ranked(connection, study_id, None, candidates):
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
        memory_gb=row.memory_gb,
        learning_rate=row.recipe["learning_rate"],
        step=row.step,
        trials=row.trials,
        failed=row.failed,
        score=row.score,
        score_low=row.score_low,
        score_high=row.score_high,
        score_name=SCORE_NAME,
    )
