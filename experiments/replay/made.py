"""Write made tables of many kinds, to replay policies on what no real table shows.

    python experiments/replay/made.py FOLDER --seed 5
    python experiments/replay/replay.py FOLDER/*.csv --trainings 100

120 architectures each: seed noise normal, heavy-tailed, skewed to the left, or normal with
trainings that collapse; standard deviation between architectures 0.3, 1 and 2 times that between
seeds; 2 and 5 seeds.
"""

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from emsearch.ranking.pooling import Floats
from emsearch.records.chance import seed_of

_ARCHITECTURES, _NOISE, _CENTRE = 120, 0.06, 0.6
_COLLAPSED = 0.07


def main() -> None:
    """Write a table of each kind, ratio and number of seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=5)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        for ratio in (0.3, 1.0, 2.0):
            for seeds in (2, 5):
                name = f"{kind}-{ratio:g}-{seeds}"
                rng = np.random.default_rng(seed_of(asked.seed, name))
                write(asked.folder / f"{name}.csv", made(kind, ratio, seeds, rng))


def made(kind: str, ratio: float, seeds: int, rng: np.random.Generator) -> Floats:
    """Return scores, (architecture, seed)."""
    true_A1 = _CENTRE + ratio * _NOISE * rng.standard_normal((_ARCHITECTURES, 1))
    return KINDS[kind](true_A1, (_ARCHITECTURES, seeds), rng)


def write(path: Path, score_AK: Floats) -> None:
    """Write a table as the real ones are."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["campaign", "architecture", "seed", "mean_iou"])
        for architecture, scores in enumerate(score_AK):
            for seed, score in enumerate(scores):
                rows.writerow([path.stem, architecture, seed, round(float(score), 4)])


def _normal(true_A1: Floats, shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    return true_A1 + _NOISE * rng.standard_normal(shape)


def _heavy(true_A1: Floats, shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    scores: Floats = true_A1 + _NOISE * rng.standard_t(3, shape) / np.sqrt(3)
    return scores


def _skewed(true_A1: Floats, shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    return true_A1 + _NOISE * (1 - rng.exponential(1.0, shape))


def _collapsing(true_A1: Floats, shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    """Some architectures collapse often, most hardly ever."""
    often_A1 = rng.beta(0.5, 3.0, (shape[0], 1))
    scores = _normal(true_A1, shape, rng)
    return np.where(rng.random(shape) < often_A1, _COLLAPSED, scores)


Kind = Callable[[Floats, tuple[int, int], np.random.Generator], Floats]
KINDS: dict[str, Kind] = {
    "normal": _normal,
    "heavy": _heavy,
    "skewed": _skewed,
    "collapsing": _collapsing,
}


if __name__ == "__main__":
    main()
