"""Which recipes are tried near a survivor's, and how one is written as Optuna's parameters.

The tree stays as it is. Rates are sought by factors of the survivor's own; shapes and batches among
those that its memory allows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from emsearch.records.candidate import Recipe, Schedule

__all__ = ["Shape", "params_of", "recipe_of", "shapes_near", "space_near"]

Shape = tuple[int, int, int, int]
"""Batch size, and the patch along z, y, x."""
_AUGMENTATIONS = ("elastic", "contrast", "noise", "blur")
_SHARES: dict[str, BaseDistribution] = {
    "dice_weight": FloatDistribution(0.0, 1.0),
    "class_balance": FloatDistribution(0.0, 0.5),
    "focal": FloatDistribution(0.0, 2.0),
    "augmentation": FloatDistribution(0.0, 2.0),
    **{name: FloatDistribution(0.0, 2.0) for name in _AUGMENTATIONS},
}
_RATE, _DECAY = 4.0, 30.0  # factors around the survivor's own
_GRAIN = 16  # patches are multiples of it, so that poolings divide them


def space_near(base: Recipe, shapes: Sequence[Shape] = ()) -> dict[str, BaseDistribution]:
    """Return what is sought: the survivor's own shape is among the shapes, or the only one."""
    rate, decay = base.learning_rate, max(base.weight_decay, 1e-6)
    named = [_named(shape) for shape in dict.fromkeys([_shape(base), *shapes])]
    space: dict[str, BaseDistribution] = {
        "learning_rate": FloatDistribution(rate / _RATE, rate * _RATE, log=True),
        "weight_decay": FloatDistribution(decay / _DECAY, decay * _DECAY, log=True),
        "schedule": CategoricalDistribution([str(one) for one in Schedule]),
        **_SHARES,
    }
    if len(named) > 1:
        space["shape"] = CategoricalDistribution(named)
    return space


def shapes_near(base: Recipe) -> list[Shape]:
    """Return batches and patches of about as many voxels: who asks picks those that fit."""
    z, y, x = base.patch_zyx
    sizes = {1.0: (y, x)}
    for factor in (0.75, 1.5):
        sizes[factor] = (_round(y * factor), _round(x * factor))
    batches = sorted({max(base.batch_size // 2, 1), base.batch_size, 2 * base.batch_size})
    most = 1.5 * base.batch_vx
    found = [(n, z, *size) for size in sizes.values() for n in batches]
    return [shape for shape in dict.fromkeys(found) if shape[0] * z * shape[2] * shape[3] <= most]


def recipe_of(base: Recipe, params: Mapping[str, Any]) -> Recipe:
    """Return the recipe that Optuna's parameters name; what they do not set stays."""
    values = dict(params)
    strengths = {name: values.pop(name) for name in _AUGMENTATIONS if name in values}
    values["policy"] = replace(base.policy, **strengths)
    if "schedule" in values:
        values["schedule"] = Schedule(values["schedule"])
    if "shape" in values:
        batch, z, y, x = (int(part) for part in str(values.pop("shape")).split("x"))
        values |= {"batch_size": batch, "patch_zyx": (z, y, x)}
    return replace(base, **values)


def params_of(recipe: Recipe, space: Mapping[str, BaseDistribution]) -> dict[str, Any] | None:
    """Return a recipe as Optuna's parameters; None where the space does not hold it."""
    values: dict[str, Any] = {}
    for name, distribution in space.items():
        value = _value(recipe, name)
        if not distribution._contains(distribution.to_internal_repr(value)):  # noqa: SLF001
            return None
        values[name] = value
    return values


def _value(recipe: Recipe, name: str) -> Any:
    if name == "shape":
        return _named(_shape(recipe))
    if name == "schedule":
        return str(recipe.schedule)
    return getattr(recipe.policy if name in _AUGMENTATIONS else recipe, name)


def _shape(recipe: Recipe) -> Shape:
    return (recipe.batch_size, *recipe.patch_zyx)


def _named(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _round(size: float) -> int:
    return max(round(size / _GRAIN), 1) * _GRAIN
