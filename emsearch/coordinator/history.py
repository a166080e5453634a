"""All trials of an asynchronous search, in memory: only what may have changed is read again."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from sqlalchemy import Connection

from emsearch.coordinator.view import TrialView
from emsearch.ledger import queries
from emsearch.ledger.rows import AnyRow
from emsearch.records.candidate import Origin
from emsearch.records.trial import Cause, TrialState

__all__ = ["History", "trial_view"]


class History:
    """The trials of one study. One that is new to it reads all of them, once."""

    def __init__(self) -> None:
        self._trials: dict[int, TrialView] = {}
        self._seconds: dict[int, float] = {}
        self._live: frozenset[int] = frozenset()
        self._last = 0

    def read(
        self, connection: Connection, study_id: int, rungs: Sequence[int], live: Sequence[TrialView]
    ) -> tuple[tuple[TrialView, ...], float]:
        """Return all trials but tuned ones, by candidate and repeat, and their seconds together.

        `live` are those without a verdict, as they stand now.
        """
        now = frozenset(trial.number for trial in live)
        changed = {trial.number for trial in live if self._is_news(trial)} | (self._live - now)
        fresh = queries.trials_after(connection, study_id, self._last)
        again = queries.trials_by_number(connection, sorted(changed & self._trials.keys()))
        rows = [row for row in (*again, *fresh) if row.origin != Origin.TUNED]
        self._take(connection, rows, rungs)
        self._live = now
        self._last = max((row.id for row in fresh), default=self._last)
        return tuple(sorted(self._trials.values(), key=self._place)), sum(self._seconds.values())

    def expect(self, numbers: Iterable[int]) -> None:
        """Note that trials go on, which may have come to a verdict again by the next reading."""
        self._live |= frozenset(numbers)

    def _is_news(self, trial: TrialView) -> bool:
        known = self._trials.get(trial.number)
        is_as_known = known is not None and (known.state, known.until_step) == (
            trial.state,
            trial.until_step,
        )
        return not is_as_known or trial.state == TrialState.RUNNING  # it may pass a rung

    def _take(self, connection: Connection, rows: Sequence[AnyRow], rungs: Sequence[int]) -> None:
        scores: dict[int, list[tuple[int, float]]] = defaultdict(list)
        for row in queries.scores_of(connection, [row.id for row in rows], rungs):
            scores[row.trial_id].append((row.step, row.mean_iou))
        for row in rows:
            self._seconds[row.id] = row.train_s
            self._trials[row.id] = replace(
                trial_view(row),
                cause=Cause(row.cause) if row.cause else None,
                scores=tuple(scores[row.id]),
            )

    @staticmethod
    def _place(trial: TrialView) -> tuple[int, int]:
        return trial.candidate, trial.number  # a candidate's repeats are numbered in their order


def trial_view(row: AnyRow) -> TrialView:
    """Return a trial's row as decisions see it."""
    return TrialView(
        number=row.id,
        candidate=row.candidate,
        is_baseline=row.origin == Origin.BASELINE,
        state=TrialState(row.state),
        until_step=row.until_step,
        score=row.score,
    )
