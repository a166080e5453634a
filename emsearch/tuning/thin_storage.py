"""Optuna's storage in memory, where samplers see enough of what is known, not all of it.

TPE looks at every trial it is shown for every recipe that it suggests. What is good it learns from
the best twenty-five, what is not from the others' density, which a part of them gives as well.
"""

import copy
import heapq
from collections.abc import Container, Sequence
from datetime import UTC, datetime
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

__all__ = ["SharedSpace", "ThinStorage", "known_trial"]

_MOST = 1000
"""Trials that are shown."""
_BEST = 200
"""Of these, the best of all."""
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class ThinStorage(InMemoryStorage):
    """Keeps all trials; where there are many it shows the best, and the others evenly thinned."""

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the trials that are shown, in their order."""
        trials = _thinned(super().get_all_trials(study_id, deepcopy=False, states=states))
        return copy.deepcopy(trials) if deepcopy else trials

    def count(self) -> int:
        """Return how many trials are kept, of all studies."""
        return len(self._trial_id_to_study_id_and_number)


class SharedSpace(dict[str, BaseDistribution]):
    """A space that all trials share: it never changes, so that copies of it are itself."""

    def __deepcopy__(self, _memo: dict[int, Any]) -> "SharedSpace":
        return self


def known_trial(
    state: TrialState, value: float | None, params: dict[str, Any], space: SharedSpace
) -> FrozenTrial:
    """Return a trial of known outcome to add to a study; its number follows from that."""
    return FrozenTrial(
        number=-1,
        trial_id=-1,
        state=state,
        value=value,
        datetime_start=_LONG_AGO,
        datetime_complete=_LONG_AGO if state.is_finished() else None,
        params=params,
        distributions=space,
        user_attrs={},
        system_attrs={},
        intermediate_values={},
    )


def _thinned(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    if len(trials) <= _MOST:
        return trials
    scored = [one for one in trials if one.state == TrialState.COMPLETE]
    best = heapq.nlargest(_BEST, scored, key=_value)
    known = {one.number for one in best}
    known.update(one.number for one in _evenly(scored, _MOST - _BEST))
    return [one for one in trials if one.number in known or not one.state.is_finished()]


def _value(trial: FrozenTrial) -> float:
    return trial.value or 0.0


def _evenly(trials: Sequence[FrozenTrial], most: int) -> Sequence[FrozenTrial]:
    return trials[:: -(-len(trials) // most)] if trials else trials
