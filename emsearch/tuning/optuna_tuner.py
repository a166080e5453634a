"""Recipes from Optuna, held in memory and rebuilt from what is known at every call."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import TrialState as OptunaState

from emsearch.records.candidate import Recipe
from emsearch.records.chance import seed_of

__all__ = ["Tried", "ask"]

_STARTUP = 4  # recipes drawn at random before the model of what is good is trusted
_SHARES = {
    "dice_weight": FloatDistribution(0.0, 1.0),
    "class_balance": FloatDistribution(0.0, 0.5),
    "augmentation": FloatDistribution(0.0, 2.0),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """A recipe and what it came to."""

    recipe: Recipe
    score: float | None
    """None where the training failed."""


def ask(base: Recipe, tried: Sequence[Tried], count: int, seed: int) -> list[Recipe]:
    """Return `count` recipes to try near `base`; they depend on the arguments alone.

    The first of `tried` is the survivor's own. The learning rate is sought within a factor of four
    of `base`, the weight decay within a factor of thirty; what the tuner does not set stays.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = _space(base)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            multivariate=True,
            group=True,
            constant_liar=True,
            n_startup_trials=_STARTUP,
            seed=seed_of(seed, len(tried)) % 2**32,
        )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials([_told(one, space) for one in tried])
    return [replace(base, **study.ask(space).params) for _ in range(count)]


def _space(base: Recipe) -> dict[str, BaseDistribution]:
    rate, decay = base.learning_rate, max(base.weight_decay, 1e-6)
    return {
        "learning_rate": FloatDistribution(rate / 4, rate * 4, log=True),
        "weight_decay": FloatDistribution(decay / 30, decay * 30, log=True),
        **_SHARES,
    }


def _told(one: Tried, space: dict[str, BaseDistribution]) -> optuna.trial.FrozenTrial:
    failed = one.score is None
    return optuna.trial.create_trial(
        state=OptunaState.FAIL if failed else OptunaState.COMPLETE,
        value=one.score,
        params={name: getattr(one.recipe, name) for name in space},
        distributions=space,
    )
