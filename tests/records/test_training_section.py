"""The [training] section becomes a recipe, key by key."""

from dataclasses import fields
from math import prod
from typing import Any

import pytest

from emsearch.errors import SpecError
from emsearch.records.budget import Budget
from emsearch.records.candidate import Optimizer, Recipe, Schedule, Weighting
from emsearch.records.policy import Policy
from emsearch.records.sections import TrainingSection
from emsearch.records.spec import StudySpec, parse_spec


def _spec(**training: Any) -> StudySpec:
    volume = {"image": "i.tif", "labels": "l.tif", "train": "0:1", "validation": "1:2"}
    return parse_spec(
        {
            "study": {"name": "s"},
            "dataset": {"classes": ["a", "b"], "voxel_nm": [1, 1, 1], "volumes": [volume]},
            "training": training,
        }
    )


OTHER: dict[str, Any] = {
    "batch_size": 3,
    "patch_zyx": (2, 8, 8),
    "optimizer": Optimizer.SGD,
    "learning_rate": 0.1,
    "weight_decay": 0.2,
    "momentum": 0.3,
    "schedule": Schedule.COSINE,
    "warmup": 0.4,
    "decay": 0.5,
    "gradient_clip": 6.0,
    "ema_decay": 0.7,
    "dice_weight": 0.8,
    "focal": 0.9,
    "miss_weight": 0.1,
    "weighting": Weighting.EDGES,
    "class_balance": 0.2,
    "weight_floor": 0.3,
    "edge_weight": 0.4,
    "edge_sigma_vx": 5.0,
    "deep_supervision": 0.6,
    "augmentation": 0.7,
}


def test_every_setting_of_a_recipe_can_be_given_in_the_file() -> None:
    assert {*OTHER, "policy"} == {field.name for field in fields(Recipe)}
    recipe = _spec(**OTHER, policy={"elastic": 0.5}).training.recipe()
    assert recipe == Recipe(**OTHER, policy=Policy(elastic=0.5))
    default = Recipe()
    assert all(getattr(recipe, name) != getattr(default, name) for name in OTHER)
    assert recipe.digest() != default.digest()
    assert TrainingSection().recipe() == default


@pytest.mark.parametrize(
    ("training", "words"),
    [
        ({"policy": {"bend": 1}}, r"no augmentation 'bend'; known: mirror, affine"),
        ({"policy": {"blur": -1}}, r"training.policy.blur = -1"),
        ({"optimizer": "lion"}, r"training.optimizer = 'lion'"),
        ({"schedule": "step"}, r"training.schedule = 'step'"),
        ({"miss_weight": 2}, r"training.miss_weight = 2"),
        ({"budget": "epochs"}, r"training.budget = 'epochs'"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(training: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        _spec(**training)


@pytest.mark.parametrize("name", ["focal", "miss_weight", "ema_decay", "edge_sigma_vx", "warmup"])
def test_a_recipe_out_of_bounds_is_refused_with_what_is_allowed(name: str) -> None:
    with pytest.raises(SpecError, match=f"{name} must be (at least|between).* got -1"):
        Recipe(**{name: -1.0})  # type: ignore[arg-type]


def test_seconds_follow_from_what_the_budget_counts() -> None:
    training = TrainingSection(batch_size=5, patch_zyx=(1, 100, 200))
    assert training.seconds(10, step_s=0.5) == pytest.approx(5)
    assert training.recipe().batch_vx == 5 * prod((1, 100, 200))
    voxels = training.model_copy(update={"budget": Budget.MEGAVOXELS})
    assert voxels.seconds(10, step_s=0.5) == pytest.approx(50)
    seconds = training.model_copy(update={"budget": Budget.SECONDS})
    assert seconds.seconds(10, step_s=0.5) == 10
