"""The leaderboard as a query. Every function takes a connection from `Ledger.reading`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select

from emsearch.ledger.ranks import MEASURES
from emsearch.ledger.rows import OF_ITS_TREE, Rows
from emsearch.ledger.tables import CandidateRow, RankingRow, TreeRow

__all__ = ["Sorting", "Wanted", "ranked"]


class Sorting(StrEnum):
    """What a leaderboard is sorted by."""

    RANK = "rank"
    CANDIDATE = "candidate"
    PARAMETERS = "parameters"  # the smallest first
    MEMORY = "memory"  # the smallest first
    FAILED = "failed"  # the most failed trials first
    DATE = "date"  # the latest result first


_ORDERS: dict[Sorting, tuple[ColumnElement[Any], ...]] = {
    Sorting.RANK: (),
    Sorting.CANDIDATE: (CandidateRow.number.asc(),),
    Sorting.PARAMETERS: (TreeRow.parameters.asc(),),
    Sorting.MEMORY: (TreeRow.memory_gb.asc(),),
    Sorting.FAILED: (RankingRow.failed.desc(),),
    Sorting.DATE: (func.coalesce(RankingRow.at_s, 0.0).desc(),),
}
_PLACE = (RankingRow.step.desc(), RankingRow.value.desc(), RankingRow.precedence.desc())


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Which candidates to list; all of them by default."""

    families: Sequence[str] = ()
    """Any of these; empty for all."""
    origins: Sequence[str] = ()
    """Any of baseline, random, tuned; empty for all."""
    step: int | None = None
    """Scored last at this rung."""
    least_parameters: int | None = None
    most_parameters: int | None = None
    most_memory_gb: float | None = None
    """Predicted memory of a training step."""
    failed: bool | None = None
    """True: some trial failed; False: none did."""
    since_s: float | None = None
    """Latest result made at this time or later, in seconds since the epoch."""
    until_s: float | None = None
    """Latest result made before this time."""

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions on rankings, candidates and trees."""
        asked: tuple[tuple[Any, Callable[[Any], ColumnElement[bool]]], ...] = (
            (self.families or None, TreeRow.family.in_),
            (self.origins or None, CandidateRow.origin.in_),
            (self.step, RankingRow.step.__eq__),
            (self.least_parameters, TreeRow.parameters.__ge__),
            (self.most_parameters, TreeRow.parameters.__le__),
            (self.most_memory_gb, TreeRow.memory_gb.__le__),
            (self.failed, lambda some: RankingRow.failed > 0 if some else RankingRow.failed == 0),
            (self.since_s, RankingRow.at_s.__ge__),
            (self.until_s, RankingRow.at_s.__lt__),
        )
        return [condition(value) for value, condition in asked if value is not None]


def ranked(
    connection: Connection,
    study_id: int,
    most: int | None = None,
    wanted: Wanted | None = None,
    *,
    measure: str = MEASURES[0],
    sorting: Sorting = Sorting.RANK,
) -> Rows:
    """Return the wanted rankings by a measure, with their candidates and trees.

    A `rank` is the place among all of the study's candidates, whichever of them are listed.
    """
    conditions = (wanted or Wanted()).conditions()
    if sorting == Sorting.RANK and not conditions:
        return connection.execute(_first(study_id, measure, most)).all()
    places = _places(study_id, measure).subquery()
    order = *_ORDERS[sorting], places.c.rank
    return connection.execute(
        _described(places.c.rank)
        .join(places, places.c.candidate_id == RankingRow.candidate_id)
        .where(RankingRow.measure == measure, *conditions)
        .order_by(*order)
        .limit(most)
    ).all()


def _first(study_id: int, measure: str, most: int | None) -> Select[*tuple[Any, ...]]:
    """Return the query for the first places alone: the index gives them without looking further."""
    first = (
        select(RankingRow.candidate_id)
        .where(RankingRow.study_id == study_id, RankingRow.measure == measure)
        .order_by(*_PLACE)
        .limit(most)
        .subquery()
    )
    place = func.row_number().over(order_by=_PLACE)
    return (
        _described(place)
        .join(first, first.c.candidate_id == RankingRow.candidate_id)
        .where(RankingRow.measure == measure)
        .order_by(*_PLACE)
    )


def _places(study_id: int, measure: str) -> Select[*tuple[Any, ...]]:
    place = func.row_number().over(order_by=_PLACE).label("rank")
    return select(RankingRow.candidate_id, place).where(
        RankingRow.study_id == study_id, RankingRow.measure == measure
    )


def _described(rank: ColumnElement[int]) -> Select[*tuple[Any, ...]]:
    return (
        select(
            rank.label("rank"),
            RankingRow.step,
            RankingRow.score,
            RankingRow.score_low,
            RankingRow.score_high,
            RankingRow.best,
            RankingRow.failure_rate,
            RankingRow.trials,
            RankingRow.failed,
            RankingRow.at_s,
            CandidateRow.number.label("candidate"),
            CandidateRow.origin,
            CandidateRow.parent,
            CandidateRow.recipe,
            TreeRow.digest.label("tree"),
            TreeRow.family,
            TreeRow.parameters,
            TreeRow.memory_gb,
            TreeRow.step_s,
        )
        .select_from(RankingRow)
        .join(CandidateRow, CandidateRow.id == RankingRow.candidate_id)
        .join(TreeRow, OF_ITS_TREE)
    )
