"""Recipes from Optuna, in memory: built once from what is known, then told what came of each.

A tuner that was told one by one equals one that is rebuilt from the ledger: what it asks for
depends on what is known, in the order of asking, and on the seed alone.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

import optuna
from optuna.trial import TrialState as OptunaState

from emsearch.records.candidate import Recipe
from emsearch.records.chance import seed_of
from emsearch.tuning.space import Shape, params_of, recipe_of, space_near
from emsearch.tuning.thin_storage import SharedSpace, ThinStorage, known_trial

__all__ = ["Fate", "Tried", "Tuner", "ask", "known_study", "quietly", "sampler_of"]

STUDY = "optuna"
"""Name under which Ray Tune's OptunaSearch looks for a study in a storage."""
_STARTUP = 4  # recipes drawn at random before the model of what is good is trusted
_FEWEST = 8  # results, for importances to mean anything


class Fate(StrEnum):
    """What came of a recipe."""

    SCORED = "scored"
    FAILED = "failed"
    UNDER_WAY = "under way"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """A recipe and what it came to."""

    recipe: Recipe
    score: float | None
    """None where the training failed, or is under way."""
    is_under_way: bool = False

    @property
    def fate(self) -> Fate:
        """What came of it."""
        if self.is_under_way:
            return Fate.UNDER_WAY
        return Fate.FAILED if self.score is None else Fate.SCORED


class Tuner:
    """Chooses recipes for one survivor."""

    def __init__(
        self, base: Recipe, tried: Sequence[Tried] = (), *, seed: int, shapes: Sequence[Shape] = ()
    ) -> None:
        """Take in what was tried before; recipes that the space does not hold are left out.

        The first of `tried` is the survivor's own recipe. Learning rates are sought within a factor
        of four of `base`, weight decays within a factor of thirty.
        """
        self._base = base
        self._seed = seed
        self._space = SharedSpace(space_near(base, shapes))
        self._under_way: dict[Recipe, int] = {}
        storage = ThinStorage()
        self._study = known_study(self._space, tried, storage)
        self._known = storage.count()
        for trial in self._study.get_trials(deepcopy=False, states=(OptunaState.RUNNING,)):
            self._under_way[recipe_of(base, trial.params)] = trial.number

    def ask(self, count: int) -> list[Recipe]:
        """Return `count` recipes, which count as under way until they are told."""
        recipes = []
        with quietly():
            for _ in range(count):
                self._study.sampler = sampler_of(seed_of(self._seed, self._known))
                self._known += 1
                trial = self._study.ask(self._space)
                recipe = recipe_of(self._base, trial.params)
                self._under_way[recipe] = trial.number
                recipes.append(recipe)
        return recipes

    def tell(self, one: Tried) -> None:
        """Take in what came of a recipe; one that is told already changes nothing."""
        number = self._under_way.get(one.recipe)
        if one.fate == Fate.UNDER_WAY or number is None:
            return
        del self._under_way[one.recipe]
        state = OptunaState.FAIL if one.fate == Fate.FAILED else OptunaState.COMPLETE
        with quietly():
            self._study.tell(number, one.score, state=state)

    def importances(self) -> dict[str, float]:
        """Return how much each parameter mattered, most first; empty where too little is known."""
        scored = self._study.get_trials(deepcopy=False, states=(OptunaState.COMPLETE,))
        if len(scored) < _FEWEST or len({trial.value for trial in scored}) < 2:
            return {}
        with quietly():
            found = optuna.importance.get_param_importances(self._study)
        return {str(name): float(share) for name, share in found.items()}


def known_study(space: SharedSpace, tried: Sequence[Tried], storage: ThinStorage) -> optuna.Study:
    """Return a study that knows what was tried; recipes that the space lacks are left out."""
    with quietly():
        study = optuna.create_study(direction="maximize", storage=storage, study_name=STUDY)
        study.add_trials([trial for one in tried if (trial := _frozen(one, space)) is not None])
    return study


def sampler_of(seed: int) -> optuna.samplers.TPESampler:
    """Return what chooses recipes; all of its chance comes from the seed."""
    return optuna.samplers.TPESampler(
        multivariate=True,
        group=True,
        constant_liar=True,
        n_startup_trials=_STARTUP,
        seed=seed % 2**32,
    )


def _frozen(one: Tried, space: SharedSpace) -> optuna.trial.FrozenTrial | None:
    params = params_of(one.recipe, space)
    if params is None:
        return None
    state = _STATES[one.fate]
    return known_trial(state, one.score if state == OptunaState.COMPLETE else None, params, space)


_STATES = {
    Fate.SCORED: OptunaState.COMPLETE,
    Fate.FAILED: OptunaState.FAIL,
    Fate.UNDER_WAY: OptunaState.RUNNING,
}


def ask(base: Recipe, tried: Sequence[Tried], count: int, seed: int) -> list[Recipe]:
    """Return `count` recipes to try near `base`; they depend on the arguments alone."""
    return Tuner(base, tried, seed=seed).ask(count)


@contextmanager
def quietly() -> Iterator[None]:
    """Keep Optuna from telling what is no news."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
