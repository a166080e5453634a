"""What the search found: the ensemble beside its rivals, on validation and on test."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection

from emsearch.ledger import listings
from emsearch.ledger.rows import AnyRow
from emsearch.records.score import Score, Split

__all__ = [
    "MemberLine",
    "ScoreLine",
    "SplitTable",
    "Standing",
    "find_kind",
    "headline",
    "split_tables",
    "standings",
]

_SCORE = TypeAdapter(Score)


@dataclass(frozen=True, kw_only=True, slots=True)
class MemberLine:
    """A trial in an ensemble."""

    trial: int
    candidate: int
    weight: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """An ensemble or rival, and what it scored."""

    name: str
    kind: str
    """ensemble, single, baseline or baseline_ensemble."""
    method: str
    """How its members were chosen; empty for a single network."""
    members: tuple[MemberLine, ...]
    """Heaviest first."""
    validation: Score | None
    test: Score | None

    def score(self, split: Split) -> Score | None:
        """Return what it scored on validation or on test."""
        return {Split.VALIDATION: self.validation, Split.TEST: self.test}[split]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreLine:
    """What the ensemble or a rival scored on one split."""

    name: str
    method: str
    networks: int
    is_ensemble: bool
    score: Score


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitTable:
    """The ensemble and its rivals on one split."""

    split: Split
    lines: tuple[ScoreLine, ...]
    best_mean: float
    best_K: tuple[float | None, ...]
    """Best overlap of each class among the lines."""


def standings(connection: Connection, study_id: int) -> list[Standing]:
    """Return the study's ensemble and its rivals, in the order in which they were scored."""
    return [_standing(connection, row) for row in listings.ensembles(connection, study_id)]


def find_kind(found: Sequence[Standing], kind: str) -> Standing | None:
    """Return the first standing of a kind, None where there is none."""
    return next((one for one in found if one.kind == kind), None)


def headline(found: Sequence[Standing]) -> str:
    """Return in one sentence what the search found, on test where that was scored."""
    best = find_kind(found, "ensemble")
    if best is None:
        return "No ensemble has been selected yet."
    split = Split.TEST if best.test is not None else Split.VALIDATION
    score = best.score(split)
    if score is None:
        return "The ensemble has not been scored yet."
    compared = [
        f"{_distance(score.mean_iou - other.mean_iou)} {label}"
        for kind, label in _RIVALS
        if (rival := find_kind(found, kind)) and (other := rival.score(split))
    ]
    count = len(best.members)
    who = f"The ensemble of {count} networks" if count > 1 else "The ensemble, a single network,"
    reached = f"{who} reaches a mean IoU of {score.mean_iou:.3f} on {split}"
    return f"{reached}: {_joined(compared)}." if compared else f"{reached}."


def split_tables(found: Sequence[Standing]) -> tuple[SplitTable, ...]:
    """Return the ensemble and its rivals on test, then on validation, where they were scored.

    The baseline's seeds are one line, their mean, beside the best of them on validation.
    """
    tables = (_split_table(found, split) for split in (Split.TEST, Split.VALIDATION))
    return tuple(table for table in tables if table is not None)


def _split_table(found: Sequence[Standing], split: Split) -> SplitTable | None:
    first = find_kind(found, "baseline")
    shown = [one for one in found if one.kind != "baseline" or one is first]
    lines = [_line(one, score) for one in shown if (score := one.score(split)) is not None]
    if not lines:
        return None
    seeds = [s for one in found if one.kind == "baseline" and (s := one.score(split)) is not None]
    if len(seeds) > 1:
        name = f"baseline, mean of {len(seeds)} seeds"
        mean = ScoreLine(
            name=name, method="", networks=1, is_ensemble=False, score=_mean_of(seeds, split)
        )
        lines.append(mean)
    by_class = zip(*(line.score.iou_K for line in lines), strict=True)
    known = [[iou for iou in ious if iou is not None] for ious in by_class]
    return SplitTable(
        split=split,
        lines=tuple(lines),
        best_mean=max(line.score.mean_iou for line in lines),
        best_K=tuple(max(ious) if ious else None for ious in known),
    )


def _line(standing: Standing, score: Score) -> ScoreLine:
    method = "" if standing.method == "single" else standing.method.replace("_", " ")
    return ScoreLine(
        name=standing.name,
        method=method,
        networks=len(standing.members),
        is_ensemble=standing.kind == "ensemble",
        score=score,
    )


def _mean_of(scores: Sequence[Score], split: Split) -> Score:
    by_class = zip(*(score.iou_K for score in scores), strict=True)
    known = [[iou for iou in ious if iou is not None] for ious in by_class]
    return Score(
        split=split,
        iou_K=tuple(fmean(ious) if ious else None for ious in known),
        mean_iou=fmean(score.mean_iou for score in scores),
        mean_iou_foreground=fmean(score.mean_iou_foreground for score in scores),
        accuracy=fmean(score.accuracy for score in scores),
        voxels=scores[0].voxels,
    )


_RIVALS = (
    ("single", "the best single network"),
    ("baseline", "the best baseline"),
    ("baseline_ensemble", "the baseline's own ensemble"),
)


def _distance(difference: float) -> str:
    """Return how a score compares; what rounds to nothing is a tie."""
    rounded = f"{abs(difference):.3f}"
    if float(rounded) == 0:
        return "level with"
    return f"{rounded} above" if difference > 0 else f"{rounded} below"


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _standing(connection: Connection, row: AnyRow) -> Standing:
    return Standing(
        name=row.name,
        kind=row.kind,
        method=row.method,
        members=tuple(
            MemberLine(trial=one.trial, candidate=one.candidate, weight=one.weight)
            for one in listings.members(connection, row.id)
        ),
        validation=_score(row.validation),
        test=_score(row.test),
    )


def _score(values: dict[str, Any] | None) -> Score | None:
    return None if values is None else _SCORE.validate_python(values)
