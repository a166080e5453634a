"""What tuning costs the coordinator: building a tuner from what is known, asking, telling.

    python experiments/benchmarks/tuning.py --known 100,1000,5000 --asks 9 --json

Recipes are drawn evenly from the space near the default recipe, shapes included; their scores fall
with the distance of the learning rate from a best one, plus noise. Medians over asks.
"""

import argparse
import json
import time
from random import Random
from statistics import median
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution

from emsearch.records.candidate import Recipe
from emsearch.tuning.optuna_tuner import Tried, Tuner
from emsearch.tuning.space import recipe_of, shapes_near, space_near

BASE = Recipe()
SHAPES = shapes_near(BASE)


def main() -> None:
    """Print a row for each number of known recipes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--known", default="100,1000,5000")
    parser.add_argument("--asks", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    rows = [measured(int(known), asked.asks) for known in asked.known.split(",")]
    if asked.json:
        print(json.dumps(rows, indent=1))
        return
    print("| known recipes | built in s | ask ms | tell ms |")
    print("| ---: | ---: | ---: | ---: |")
    for row in rows:
        print(
            f"| {row['known']} | {row['build_s']:.2f} | {row['ask_ms']:.0f} "
            f"| {row['tell_ms']:.2f} |"
        )


def measured(known: int, asks: int) -> dict[str, Any]:
    """Return the times with so many recipes known."""
    rng = Random(known)
    tried = [_drawn(rng) for _ in range(known)]
    begun = time.perf_counter()
    tuner = Tuner(BASE, tried, seed=1, shapes=SHAPES)
    build_s = time.perf_counter() - begun
    ask_s, tell_s = [], []
    for _ in range(asks):
        begun = time.perf_counter()
        (recipe,) = tuner.ask(1)
        ask_s.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        tuner.tell(Tried(recipe=recipe, score=_worth(recipe, rng)))
        tell_s.append(time.perf_counter() - begun)
    return {
        "known": known,
        "build_s": build_s,
        "ask_ms": 1000 * median(ask_s),
        "tell_ms": 1000 * median(tell_s),
    }


def _drawn(rng: Random) -> Tried:
    values: dict[str, Any] = {}
    for name, one in space_near(BASE, SHAPES).items():
        if isinstance(one, CategoricalDistribution):
            values[name] = rng.choice(one.choices)
        elif isinstance(one, FloatDistribution):
            values[name] = rng.uniform(one.low, one.high)
    recipe = recipe_of(BASE, values)
    return Tried(recipe=recipe, score=_worth(recipe, rng))


def _worth(recipe: Recipe, rng: Random) -> float:
    return 0.6 - 20 * abs(recipe.learning_rate - 2e-3) + rng.gauss(0, 0.03)


if __name__ == "__main__":
    main()
