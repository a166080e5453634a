from dataclasses import asdict, replace
from random import Random

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from pydantic import TypeAdapter

from emsearch.records.candidate import Recipe, Schedule
from emsearch.tuning.optuna_tuner import Tried, Tuner, ask, known_study
from emsearch.tuning.space import params_of, recipe_of, shapes_near, space_near
from emsearch.tuning.thin_storage import SharedSpace, ThinStorage

BASE = Recipe()
SHAPES = shapes_near(BASE)


def worth(recipe: Recipe) -> float:
    return -abs(recipe.dice_weight - 0.8)


def test_recipes_depend_on_what_is_known_alone() -> None:
    tried = [Tried(recipe=BASE, score=0.5)]
    assert ask(BASE, tried, 3, seed=1) == ask(BASE, tried, 3, seed=1)
    assert ask(BASE, tried, 3, seed=1) != ask(BASE, tried, 3, seed=2)


def test_a_tuner_that_was_told_equals_one_that_is_rebuilt() -> None:
    told = Tuner(BASE, [Tried(recipe=BASE, score=0.5)], seed=7, shapes=SHAPES)
    known = [Tried(recipe=BASE, score=0.5)]
    for turn in range(6):
        recipes = told.ask(2)
        rebuilt = Tuner(BASE, known, seed=7, shapes=SHAPES)
        assert rebuilt.ask(2) == recipes
        scored = Tried(recipe=recipes[0], score=worth(recipes[0]))
        failed = Tried(recipe=recipes[1], score=None, is_under_way=turn % 2 == 0)
        known += [scored, failed]
        for one in (failed, scored):  # in whatever order they come in
            told.tell(one)


def test_telling_twice_changes_nothing() -> None:
    once, twice = (Tuner(BASE, seed=3) for _ in range(2))
    for tuner, times in ((once, 1), (twice, 2)):
        recipe = tuner.ask(1)[0]
        for _ in range(times):
            tuner.tell(Tried(recipe=recipe, score=0.4))
    assert once.ask(3) == twice.ask(3)


def test_recipes_of_a_batch_differ_and_stay_in_range() -> None:
    recipes = ask(BASE, [Tried(recipe=BASE, score=0.5)], 20, seed=3)
    assert len({recipe.digest() for recipe in recipes}) == 20
    assert {recipe.schedule for recipe in recipes} == set(Schedule)
    for recipe in recipes:
        assert BASE.learning_rate / 4 <= recipe.learning_rate <= BASE.learning_rate * 4
        assert 0 <= recipe.dice_weight <= 1
        assert 0 <= recipe.augmentation <= 2
        assert 0 <= recipe.policy.elastic <= 2


def test_what_the_tuner_does_not_set_stays() -> None:
    base = replace(BASE, batch_size=7, patch_zyx=(3, 64, 64), warmup=0.1)
    (recipe,) = ask(base, [], 1, seed=4)
    assert (recipe.batch_size, recipe.patch_zyx, recipe.warmup) == (7, (3, 64, 64), 0.1)
    assert recipe.policy.stripes == base.policy.stripes


def test_shapes_are_tried_where_there_are_several() -> None:
    assert (4, 1, 256, 256) in SHAPES
    assert all(batch * y * x <= 1.5 * BASE.batch_vx for batch, _, y, x in SHAPES)
    asked = Tuner(BASE, seed=5, shapes=SHAPES).ask(30)
    assert len({(recipe.batch_size, recipe.patch_zyx) for recipe in asked}) >= 4


def test_it_learns_where_good_recipes_are() -> None:
    tuner = Tuner(BASE, [Tried(recipe=BASE, score=worth(BASE))], seed=0)
    late = []
    for _ in range(20):
        for recipe in tuner.ask(2):
            tuner.tell(Tried(recipe=recipe, score=worth(recipe)))
            late.append(abs(recipe.dice_weight - 0.8))
    assert sum(late[-8:]) / 8 < 0.2


def test_importances_name_what_mattered_and_wait_for_enough() -> None:
    tuner = Tuner(BASE, seed=2)
    for recipe in tuner.ask(5):
        tuner.tell(Tried(recipe=recipe, score=worth(recipe)))
    assert tuner.importances() == {}
    for recipe in tuner.ask(35):
        tuner.tell(Tried(recipe=recipe, score=worth(recipe)))
    assert next(iter(tuner.importances())) == "dice_weight"


def test_failures_are_told_and_do_no_harm() -> None:
    failed = [Tried(recipe=replace(BASE, learning_rate=4e-3), score=None)] * 6
    recipes = ask(BASE, [Tried(recipe=BASE, score=0.5), *failed], 2, seed=1)
    assert len(recipes) == 2


def test_a_recipe_that_the_space_does_not_hold_is_left_out() -> None:
    strange = Tried(recipe=replace(BASE, learning_rate=9.0), score=0.9)
    assert ask(BASE, [strange], 2, seed=1) == ask(BASE, [], 2, seed=1)


def drawn(count: int) -> list[Tried]:
    space = space_near(BASE, SHAPES)
    rng = Random(0)
    tried = []
    for _ in range(count):
        values = {}
        for name, one in space.items():
            if isinstance(one, CategoricalDistribution):
                values[name] = rng.choice(one.choices)
            elif isinstance(one, FloatDistribution):
                values[name] = rng.uniform(one.low, one.high)
        tried.append(Tried(recipe=recipe_of(BASE, values), score=rng.random()))
    return tried


def test_of_many_known_recipes_samplers_see_the_best_and_a_part_of_the_others() -> None:
    space, storage, tried = SharedSpace(space_near(BASE, SHAPES)), ThinStorage(), drawn(1600)
    study = known_study(space, tried, storage)
    assert storage.count() == 1600
    shown = study.get_trials(deepcopy=False)
    assert len(shown) <= 1000
    assert [trial.number for trial in shown] == sorted(trial.number for trial in shown)
    scores = sorted((one.score for one in tried if one.score is not None), reverse=True)
    assert {trial.value for trial in shown} >= set(scores[:200])
    assert sum(trial.value in set(scores[200:]) for trial in shown) > 600


def test_a_tuner_of_many_recipes_that_was_told_equals_one_that_is_rebuilt() -> None:
    tried = drawn(1100)
    told = Tuner(BASE, tried, seed=1, shapes=SHAPES)
    recipes = told.ask(2)
    known = [Tried(recipe=recipe, score=0.5) for recipe in recipes]
    for one in known:
        told.tell(one)
    assert Tuner(BASE, [*tried, *known], seed=1, shapes=SHAPES).ask(1) == told.ask(1)


def test_known_recipes_share_their_space_and_are_copied_apart_from_it() -> None:
    space, storage = SharedSpace(space_near(BASE)), ThinStorage()
    study = known_study(space, [Tried(recipe=BASE, score=0.5)], storage)
    (trial,) = study.get_trials(deepcopy=True)
    assert trial.distributions is not None
    assert trial.params["learning_rate"] == BASE.learning_rate
    assert trial.value == 0.5


@pytest.mark.parametrize("seed", range(3))
def test_a_recipe_read_back_from_json_is_the_one_that_was_asked_for(seed: int) -> None:
    space = space_near(BASE, SHAPES)
    adapter = TypeAdapter(Recipe)
    for recipe in Tuner(BASE, seed=seed, shapes=SHAPES).ask(10):
        back = adapter.validate_json(adapter.dump_json(recipe))
        assert back == recipe
        assert asdict(back)["policy"] == asdict(recipe)["policy"]
        params = params_of(back, space)
        assert params is not None
        assert recipe_of(BASE, params) == recipe
