"""Rankings, kept up to date as results come in, so that a leaderboard is a query.

What is believed of a candidate rests on all the others: how they scatter, how often they fail. So
all are ranked together when a stage ends, and besides only as often as that takes a small part of
the coordinator's time. In between, candidates with news are ranked at once among a sample of the
others, and their own rows alone change: a cycle's cost does not grow with the study.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from emsearch.ledger import ranks
from emsearch.ranking.posterior import Goal, Ranked, Result, rank

__all__ = ["RankingKeeper", "Sample", "rank_changed", "refresh_rankings"]

_SHARE = 0.02
"""Part of the time that ranking all candidates together may take."""
_NEWS_SHARE = 0.05
"""The same of ranking news; what has to wait is ranked with the next."""
_TOGETHER = 10_000
"""Candidates of a rung that are ranked together: more would be too many for one fit's memory. Of
more, every n-th are, in as few parts as there must be."""
_SAMPLE = 200
"""Candidates of a rung that news is ranked among."""

_MEAN: Goal = "reliable_architecture"

Rung = tuple[str, int]
"""A measure and a step: what is ranked together."""
Sample = Mapping[Rung, Sequence[Result]]
"""Results of some candidates at each rung, evenly spread over all of them."""


class RankingKeeper:
    """Keeps one study's rankings, at a bounded cost."""

    def __init__(
        self,
        study_id: int,
        rungs: tuple[int, ...],
        clock: Callable[[], float] = time.monotonic,
        goal: Goal = _MEAN,
    ) -> None:
        self._study = study_id
        self._rungs = rungs
        self._goal = goal
        self._clock = clock
        self._took_s = 0.0
        self._ended_s = -float("inf")
        self._news_due_s = -float("inf")
        self._is_behind = True
        self._sample: Sample = {}

    def is_due(self) -> bool:
        """Return whether all should be ranked together, though nothing has come in just now."""
        return self._is_behind and self._clock() - self._ended_s >= self._took_s / _SHARE

    def refresh(self, connection: Connection, *, whole: bool = False) -> None:
        """Bring the rankings up to date; with `whole`, or where it is time, all of them."""
        self._is_behind |= bool(ranks.stale_candidates(connection, self._study))
        if not self._is_behind:
            return
        began = self._clock()
        if not whole and not self.is_due():
            if began >= self._news_due_s:
                rank_changed(connection, self._study, self._rungs, self._sample, self._goal)
                ended = self._clock()
                self._news_due_s = ended + (ended - began) / _NEWS_SHARE
            return
        self._sample = refresh_rankings(connection, self._study, self._rungs, self._goal)
        self._ended_s = self._clock()
        self._took_s = self._ended_s - began
        self._is_behind = False


def refresh_rankings(
    connection: Connection, study_id: int, rungs: tuple[int, ...], goal: Goal = _MEAN
) -> Sample:
    """Rank all candidates of a study together by its goal; return a sample of them."""
    scored = _scored(connection, study_id, rungs, None)
    by_rung = _by_rung(scored.values())
    places = {
        (measure, one.candidate): one
        for (measure, _), results in by_rung.items()
        for part in _parts(results)
        for one in rank(part, goal)
    }
    measures = {measure for measure, _ in by_rung}
    rows = list(_rows(scored.values(), places, measures))
    ranks.put_rankings(connection, study_id, rows, None)
    return {rung: results[:: len(results) // _SAMPLE + 1] for rung, results in by_rung.items()}


def rank_changed(
    connection: Connection,
    study_id: int,
    rungs: tuple[int, ...],
    sample: Sample,
    goal: Goal = _MEAN,
) -> None:
    """Rank the candidates of which something came in, among a sample of the others."""
    changed = ranks.stale_candidates(connection, study_id)
    if not changed:
        return
    scored = _scored(connection, study_id, rungs, changed)
    news = {one.number for one in scored.values()}
    by_rung = _by_rung(scored.values())
    places: dict[tuple[str, int], Ranked] = {}
    for rung, results in by_rung.items():
        others = [one for one in sample.get(rung, ()) if one.candidate not in news]
        ranked = rank([*others, *results], goal)
        places |= {(rung[0], one.candidate): one for one in ranked if one.candidate in news}
    measures = {measure for measure, _ in (*sample, *by_rung)}
    rows = list(_rows(scored.values(), places, measures))
    ranks.put_rankings(connection, study_id, rows, changed)


@dataclass(kw_only=True, slots=True)
class _Scored:
    """A candidate with what its trials scored at its furthest rung, by measure."""

    candidate_id: int
    number: int
    family: str
    trials: int
    failed: int
    step: int = 0
    at_s: float | None = None
    scores: dict[str, list[float]] = field(default_factory=dict)


def _scored(
    connection: Connection,
    study_id: int,
    rungs: tuple[int, ...],
    candidates: Sequence[int] | None,
) -> dict[int, _Scored]:
    found = {
        row.candidate_id: _Scored(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name
        for row in ranks.trial_counts(connection, study_id, candidates)
    }
    for row in ranks.results(connection, study_id, rungs, candidates):
        one = found[row.candidate_id]
        one.step, one.at_s = row.step, max(row.at_s, one.at_s or 0.0)
        for measure in ranks.MEASURES:
            one.scores.setdefault(measure, []).append(getattr(row, measure))
    for row in ranks.class_results(connection, study_id, rungs, candidates):
        measure = ranks.class_measure(row.class_number)
        found[row.candidate_id].scores.setdefault(measure, []).append(row.iou)
    return found


def _by_rung(scored: Iterable[_Scored]) -> dict[Rung, list[Result]]:
    by_rung: dict[Rung, list[Result]] = defaultdict(list)
    for one in scored:
        for measure, scores in one.scores.items():
            result = Result(
                candidate=one.number,
                scores=tuple(scores),
                failures=one.failed,
                family=one.family,
            )
            by_rung[measure, one.step].append(result)
    return by_rung


def _parts(results: Sequence[Result]) -> Iterable[Sequence[Result]]:
    count = -(-len(results) // _TOGETHER)
    return (results[first::count] for first in range(count))


def _rows(
    scored: Iterable[_Scored], places: Mapping[tuple[str, int], Ranked], measures: Iterable[str]
) -> Iterable[dict[str, Any]]:
    every = {*ranks.MEASURES, *measures}
    for one in scored:
        for measure in every:
            yield _row(one, measure, places.get((measure, one.number)))


def _row(one: _Scored, measure: str, place: Ranked | None) -> dict[str, Any]:
    return {
        "candidate_id": one.candidate_id,
        "measure": measure,
        "precedence": -one.number,
        "step": one.step if place else 0,
        "value": place.value if place else None,
        "score": place.mean if place else None,
        "score_low": place.low if place else None,
        "score_high": place.high if place else None,
        "best": place.best if place else None,
        "failure_rate": place.failure_rate if place else None,
        "trials": one.trials,
        "failed": one.failed,
        "at_s": one.at_s,
    }
