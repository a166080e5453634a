"""Rankings, computed when results come in and stored, so that a leaderboard is a query."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection

from emsearch.ledger import changes, queries
from emsearch.ranking.posterior import Result, rank
from emsearch.records.trial import TrialState

__all__ = ["refresh_rankings"]


def refresh_rankings(connection: Connection, study_id: int, rungs: tuple[int, ...]) -> None:
    """Rank all candidates anew: those that came further first, each rung by its posterior."""
    scores: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in queries.evaluations_at(connection, study_id, rungs):
        scores[row.candidate][row.step].append(row.mean_iou)
    trials: dict[int, list[TrialState]] = defaultdict(list)
    for row in queries.trials_of(connection, study_id):
        trials[row.candidate].append(TrialState(row.state))
    rows = queries.candidate_rows(connection, study_id)
    changes.set_rankings(connection, study_id, _rankings(scores, trials, rows))


def _rankings(
    scores: Mapping[int, Mapping[int, list[float]]],
    trials: Mapping[int, list[TrialState]],
    rows: Mapping[int, int],
) -> Iterable[dict[str, Any]]:
    by_rung: dict[int, list[Result]] = defaultdict(list)
    for candidate, at in scores.items():
        furthest = max(at)
        by_rung[furthest].append(Result(candidate=candidate, scores=tuple(at[furthest])))
    place = 0
    for step in sorted(by_rung, reverse=True):
        for one in rank(by_rung[step]):
            place += 1
            values = {"step": step, "score": one.mean, "score_low": one.low, "score_high": one.high}
            yield _row(place, rows[one.candidate], trials[one.candidate]) | values
    for candidate in sorted(set(rows) - set(scores)):
        place += 1
        nothing = {"step": 0, "score": None, "score_low": None, "score_high": None}
        yield _row(place, rows[candidate], trials[candidate]) | nothing


def _row(place: int, candidate_id: int, states: list[TrialState]) -> dict[str, Any]:
    return {
        "candidate_id": candidate_id,
        "rank": place,
        "trials": len(states),
        "failed": states.count(TrialState.FAILED),
    }
