"""What tuning tried for each survivor, and what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from pydantic import TypeAdapter
from sqlalchemy import Connection

from emsearch.ledger import listings, queries
from emsearch.records.candidate import Recipe
from emsearch.records.trial import TrialState
from emsearch.tuning.optuna_tuner import Tried, Tuner

__all__ = ["TunedLine", "TunedTable", "tuned_tables"]

_RECIPE = TypeAdapter(Recipe)


@dataclass(frozen=True, kw_only=True, slots=True)
class TunedLine:
    """A recipe that was tried for a survivor."""

    candidate: int
    recipe: Mapping[str, float]
    state: TrialState
    score: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TunedTable:
    """A survivor and the recipes that were tried for it."""

    survivor: int
    score: float | None
    """Mean of the survivor's own seeds."""
    lines: tuple[TunedLine, ...]
    """Best first."""
    importances: Mapping[str, float]
    """How much each part of the recipe mattered, most first; empty where too few are scored."""


def tuned_tables(connection: Connection, study_id: int) -> tuple[TunedTable, ...]:
    """Return a table for each survivor, the best first; of an extended study the latest first."""
    chosen = reversed(queries.decisions(connection, study_id, "survivors"))
    survivors = dict.fromkeys(number for row in chosen for number in row.facts["survivors"])
    return tuple(_tuned_table(connection, study_id, survivor) for survivor in survivors)


def _tuned_table(connection: Connection, study_id: int, survivor: int) -> TunedTable:
    row = queries.candidates(connection, study_id, survivor)[0]
    own = [trial.score for trial in listings.trials_of(connection, row.id)]
    known = [score for score in own if score is not None]
    lines = [
        TunedLine(
            candidate=one.candidate,
            recipe=one.recipe,
            state=TrialState(one.state),
            score=one.score,
        )
        for one in queries.tuned(connection, study_id, survivor)
    ]
    lines.sort(key=lambda one: (one.score is None, -(one.score or 0.0), one.candidate))
    return TunedTable(
        survivor=survivor,
        score=fmean(known) if known else None,
        lines=tuple(lines),
        importances=_importances(_RECIPE.validate_python(row.recipe), lines),
    )


def _importances(base: Recipe, lines: Sequence[TunedLine]) -> Mapping[str, float]:
    tried = [Tried(recipe=_RECIPE.validate_python(one.recipe), score=one.score) for one in lines]
    shapes = [(one.recipe.batch_size, *one.recipe.patch_zyx) for one in tried]
    return Tuner(base, tried, seed=0, shapes=shapes).importances()
