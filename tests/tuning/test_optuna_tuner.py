from dataclasses import replace

from emsearch.records.candidate import Recipe
from emsearch.tuning.optuna_tuner import Tried, ask

BASE = Recipe()


def test_recipes_depend_on_what_is_known_alone() -> None:
    tried = [Tried(recipe=BASE, score=0.5)]
    assert ask(BASE, tried, 3, seed=1) == ask(BASE, tried, 3, seed=1)
    assert ask(BASE, tried, 3, seed=1) != ask(BASE, tried, 3, seed=2)


def test_recipes_of_a_batch_differ_and_stay_in_range() -> None:
    recipes = ask(BASE, [Tried(recipe=BASE, score=0.5)], 20, seed=3)
    assert len({recipe.digest() for recipe in recipes}) == 20
    for recipe in recipes:
        assert BASE.learning_rate / 4 <= recipe.learning_rate <= BASE.learning_rate * 4
        assert 0 <= recipe.dice_weight <= 1
        assert 0 <= recipe.augmentation <= 2


def test_what_the_tuner_does_not_set_stays() -> None:
    base = replace(BASE, batch_size=7, patch_zyx=(3, 64, 64))
    (recipe,) = ask(base, [], 1, seed=4)
    assert (recipe.batch_size, recipe.patch_zyx) == (7, (3, 64, 64))


def test_it_learns_where_good_recipes_are() -> None:
    def worth(recipe: Recipe) -> float:
        return -abs(recipe.dice_weight - 0.8)

    tried = [Tried(recipe=BASE, score=worth(BASE))]
    for round_ in range(15):
        recipes = ask(BASE, tried, 2, seed=round_)
        tried += [Tried(recipe=recipe, score=worth(recipe)) for recipe in recipes]
    late = [abs(one.recipe.dice_weight - 0.8) for one in tried[-8:]]
    assert sum(late) / len(late) < 0.2


def test_failures_are_told_and_do_no_harm() -> None:
    failed = [Tried(recipe=replace(BASE, learning_rate=4e-3), score=None)] * 6
    recipes = ask(BASE, [Tried(recipe=BASE, score=0.5), *failed], 2, seed=1)
    assert len(recipes) == 2
