"""The leaderboard as a query. Every function takes a connection from `Ledger.reading`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, case, func, select, tuple_
from sqlalchemy.orm import aliased

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
    order = (*_ORDERS[sorting], *_PLACE)
    page = (
        select(RankingRow.candidate_id)
        .where(RankingRow.study_id == study_id, RankingRow.measure == measure, *conditions)
        .order_by(*order)
        .limit(most)
    )
    if sorting == Sorting.RANK and not conditions:
        # The index alone gives the first places.
        listed = _described(func.row_number().over(order_by=_PLACE))
    else:
        page = page.join(CandidateRow, CandidateRow.id == RankingRow.candidate_id)
        page = page.join(TreeRow, OF_ITS_TREE)
        listed = _numbered(study_id, measure) if most is None else _counted(study_id, measure)
    wanted_rows = page.subquery()
    return connection.execute(
        listed.join(wanted_rows, wanted_rows.c.candidate_id == RankingRow.candidate_id)
        .where(RankingRow.measure == measure)
        .order_by(*order)
    ).all()


def _numbered(study_id: int, measure: str) -> Select[*tuple[Any, ...]]:
    """Return the query that numbers all places."""
    place = func.row_number().over(order_by=_PLACE).label("rank")
    places = (
        select(RankingRow.candidate_id, place)
        .where(RankingRow.study_id == study_id, RankingRow.measure == measure)
        .subquery()
    )
    return _described(places.c.rank).join(places, places.c.candidate_id == RankingRow.candidate_id)


def _counted(study_id: int, measure: str) -> Select[*tuple[Any, ...]]:
    """Return the query that counts, for each row, how many come before it.

    For a page that takes a fraction of what numbering all places does.
    """
    other = aliased(RankingRow)
    count = select(func.count()).where(other.study_id == study_id, other.measure == measure)
    further = count.where(other.step > RankingRow.step).scalar_subquery()
    beside = count.where(other.step == RankingRow.step)
    own, others = (tuple_(row.value, row.precedence) for row in (RankingRow, other))
    better = beside.where(others > own).scalar_subquery()
    unscored = beside.where(other.precedence > RankingRow.precedence).scalar_subquery()
    return _described(1 + further + case((RankingRow.value.is_(None), unscored), else_=better))


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
