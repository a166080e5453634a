from dataclasses import asdict, replace

from emsearch.records.candidate import Recipe
from emsearch.records.trial import TrialState
from emsearch.reports.tuned import TunedLine, _importances

BASE = Recipe()


def lines(count: int) -> list[TunedLine]:
    recipes = [
        replace(BASE, dice_weight=i / count, focal=i * 7 % count / count) for i in range(count)
    ]
    return [
        TunedLine(
            candidate=i,
            recipe=asdict(recipe),
            state=TrialState.COMPLETED,
            score=0.5 + recipe.dice_weight / 10,
        )
        for i, recipe in enumerate(recipes)
    ]


def test_what_decided_the_score_mattered_most() -> None:
    found = _importances(BASE, lines(30))
    assert max(found, key=lambda name: found[name]) == "dice_weight"


def test_few_recipes_say_nothing_of_importance() -> None:
    assert _importances(BASE, lines(3)) == {}
