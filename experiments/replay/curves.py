"""What stopping early would have cost and saved, on learning curves of real trainings.

    python experiments/replay/curves.py learning_curves.csv [--json]

Only curves that were drawn without looking at scores, and are whole, are used (column drawn is
`random`, complete is 1). Studies of 16 trainings are drawn from them. At a share of the horizon
all are compared; the better part goes on. Scores are of the last evaluation.
cost_best, cost_top4: what the best score, and the mean of the four best, lose by stopping;
saved: share of the training saved; correlation: Spearman's, of the score then and the last one.
Curves that the group stopped itself (at their 11th evaluation of 20, below 0.3) count as they are:
after their stop they keep their last score, so that late bloomers among them are not seen.
"""

import argparse
import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from emsearch.ranking.pooling import Floats

__all__ = ["Stop", "main", "read_curves", "stops"]

_STUDY = 16
_SHARES = (0.1, 0.2, 0.3, 0.5)
_KEPT = (0.75, 0.5, 0.25)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """What comparing at one share of the horizon, and keeping a part, does."""

    at: float
    kept: float
    correlation: float
    cost_best: float
    cost_best_se: float
    cost_top4: float
    cost_top4_se: float
    saved: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row for each share of the horizon and each part kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("curves", type=Path)
    parser.add_argument("--campaign", default="random_2d_ed/1210")
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    curve_TE = read_curves(asked.curves, asked.campaign)
    rows = list(stops(curve_TE, asked.simulations, np.random.default_rng(asked.seed)))
    if asked.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return
    print(f"{len(curve_TE)} curves of {curve_TE.shape[1]} evaluations\n")
    print("| compared at | kept | Spearman | best loses | top 4 loses | training saved |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        print(
            f"| {row.at:.0%} | {row.kept:.0%} | {row.correlation:.2f} "
            f"| {row.cost_best:.4f} ± {row.cost_best_se:.4f} "
            f"| {row.cost_top4:.4f} ± {row.cost_top4_se:.4f} | {row.saved:.0%} |"
        )


def read_curves(path: Path, campaign: str) -> Floats:
    """Return the curves, (training, evaluation); one that was stopped keeps its last score."""
    curves: dict[tuple[str, str], list[float]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            whole = row["drawn"] == "random" and row["complete"] == "1"
            if whole and row["campaign"] == campaign:
                key = (row["architecture"], row["seed"])
                curves.setdefault(key, []).append(float(row["mean_iou"]))
    length = max(map(len, curves.values()))
    return np.array([[*them, *([them[-1]] * (length - len(them)))] for them in curves.values()])


def stops(curve_TE: Floats, simulations: int, rng: np.random.Generator) -> Iterator[Stop]:
    """Yield what each way to stop early costs and saves, over simulated studies."""
    drawn_SN = np.array(
        [rng.permutation(len(curve_TE))[:_STUDY] for _ in range(simulations)], dtype=np.int64
    )
    final_SN = curve_TE[drawn_SN, -1]
    for at in _SHARES:
        place = max(round(at * curve_TE.shape[1]), 1) - 1
        early_SN = curve_TE[drawn_SN, place]
        correlation = float(spearmanr(curve_TE[:, place], curve_TE[:, -1]).statistic)
        for kept in _KEPT:
            order_SN = (-early_SN).argsort(axis=1)[:, : round(kept * _STUDY)]
            left_SN = np.take_along_axis(final_SN, order_SN, axis=1)
            best_S = final_SN.max(axis=1) - left_SN.max(axis=1)
            top4_S = _top4(final_SN) - _top4(left_SN)
            yield Stop(
                at=at,
                kept=kept,
                correlation=round(correlation, 3),
                cost_best=round(float(best_S.mean()), 5),
                cost_best_se=round(float(best_S.std() / np.sqrt(simulations)), 6),
                cost_top4=round(float(top4_S.mean()), 5),
                cost_top4_se=round(float(top4_S.std() / np.sqrt(simulations)), 6),
                saved=round((1 - kept) * (1 - at), 3),
            )


def _top4(score_SN: Floats) -> Floats:
    top: Floats = np.sort(score_SN, axis=1)[:, -4:].mean(axis=1)
    return top


if __name__ == "__main__":
    main()
