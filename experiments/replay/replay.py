"""Replay search policies on tables of real trainings, hundreds of studies each.

    python experiments/replay/replay.py TABLE.csv ... --policies default,random,repeats5 \
        --trainings 50,100,200 --simulations 300 --seed 1 --json

A table has a row for each training: architecture, seed, mean_iou. A policy sees a row only after it
has trained it. Whatever the policy, the architecture chosen at the end is the one with the highest
posterior mean (partial pooling), so that policies differ in what they train and in nothing else.

best, top4: mean over studies of the best score, and of the mean of the four best, among those
trained; regret: best true mean of the table (over all its seeds) less that of the architecture
chosen; *_se: standard errors over studies. `repeatsN` trains all seeds where a table has fewer.
A budget above what a table holds is left out. The default policy is the same for both goals:
`reliable_architecture` is judged by regret, `best_networks` by best and top4.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from emsearch.errors import EmsearchError
from emsearch.ranking.policy import NEW, Policy, Record, policy_named
from emsearch.ranking.pooling import Floats, moments, pool
from emsearch.records.chance import seed_of

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from experiments.replay.tables import Shuffled, Table, read_table

__all__ = ["Row", "main", "replay"]

_CHUNK = 250  # simulations at a time: their arrays stay in the processor's cache
GOALS = ("best_networks", "reliable_architecture")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What a policy came to on a table after so many trainings."""

    table: str
    policy: str
    goal: str
    trainings: int
    simulations: int
    best: float
    best_se: float
    top4: float
    top4_se: float
    regret: float
    regret_se: float
    architectures: float
    """Mean number that were trained at all."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row for each table, policy and number of trainings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("tables", nargs="+", type=Path, metavar="TABLE.csv")
    parser.add_argument("--policies", default="default,random,repeats5")
    parser.add_argument("--trainings", default="50,100,200")
    parser.add_argument("--simulations", type=int, default=300)
    parser.add_argument("--goal", choices=GOALS, default="best_networks")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--plot", type=Path, help="draw a picture of the rows, too (SVG)")
    asked = parser.parse_args(arguments)
    try:
        rows = list(_rows(asked))
    except EmsearchError as error:
        parser.error(str(error))
    print(json.dumps([asdict(row) for row in rows], indent=1) if asked.json else _text(rows))
    if asked.plot:
        from experiments.replay.plot import draw

        asked.plot.write_text(draw(rows))


def _rows(asked: argparse.Namespace) -> Iterator[Row]:
    policies = {name: policy_named(name) for name in asked.policies.split(",")}
    for path in asked.tables:
        table = read_table(path)
        for trainings in map(int, asked.trainings.split(",")):
            if trainings > table.trainings:
                continue
            for name, policy in policies.items():
                measured = replay(table, policy, trainings, asked.simulations, asked.seed)
                yield _row(table.name, name, asked.goal, trainings, measured)


def _row(table: str, policy: str, goal: str, trainings: int, measured_SM: Floats) -> Row:
    mean_M = measured_SM.mean(axis=0)
    error_M = measured_SM.std(axis=0, ddof=1) / np.sqrt(len(measured_SM))
    best, top4, regret, architectures = (round(float(value), 5) for value in mean_M)
    best_se, top4_se, regret_se, _ = (round(float(value), 6) for value in error_M)
    return Row(
        table=table,
        policy=policy,
        goal=goal,
        trainings=trainings,
        simulations=len(measured_SM),
        best=best,
        best_se=best_se,
        top4=top4,
        top4_se=top4_se,
        regret=regret,
        regret_se=regret_se,
        architectures=round(architectures, 1),
    )


def replay(table: Table, policy: Policy, trainings: int, simulations: int, seed: int) -> Floats:
    """Return best, top4, regret and architectures trained of each simulated study, (S, 4).

    The order in which a study meets the table's rows depends on `seed` and its place alone, and is
    the same for every policy.
    """
    chunks = []
    for first in range(0, simulations, _CHUNK):
        rng = np.random.default_rng(seed_of(seed, table.name, first))
        shuffled = Shuffled.of(table, min(_CHUNK, simulations - first), rng)
        chunks.append(_studies(shuffled, policy, trainings, rng))
    return np.concatenate(chunks)


def _studies(table: Shuffled, policy: Policy, trainings: int, rng: np.random.Generator) -> Floats:
    studies, candidates, _ = table.score_SAK.shape
    rows = np.arange(studies)
    count_SA = np.zeros((studies, candidates), dtype=np.int64)
    known_S = np.zeros(studies, dtype=np.int64)
    candidate_ST = np.full((studies, trainings), -1, dtype=np.int64)
    score_ST = np.full((studies, trainings), np.nan)
    cells_S = table.seeds_SA.sum(axis=1)
    for done in range(trainings):
        width = min(int(known_S.max()) + 1, candidates)
        room_SA = np.where(np.arange(candidates) < known_S[:, None], table.seeds_SA - count_SA, 0)
        seen_S = (table.seeds_SA * (np.arange(candidates) < known_S[:, None])).sum(axis=1)
        record = Record(
            candidate_ST=candidate_ST[:, :done],
            score_ST=score_ST[:, :done],
            known_S=known_S,
            room_SA=room_SA[:, :width],
            unseen_S=(cells_S - seen_S).astype(np.float64),
            remaining=trainings - done,
        )
        chosen_S = policy(record, rng)
        chosen_S = np.where(chosen_S == NEW, known_S, chosen_S)
        known_S = np.maximum(known_S, chosen_S + 1)
        candidate_ST[:, done] = chosen_S
        score_ST[:, done] = table.score_SAK[rows, chosen_S, count_SA[rows, chosen_S]]
        count_SA[rows, chosen_S] += 1
    assert np.isfinite(score_ST).all(), "a policy trained a seed that the table does not hold"
    found = pool(moments(candidate_ST, score_ST, candidates), steps=30)
    chosen_S = np.where(count_SA > 0, found.mean_SA, -np.inf).argmax(axis=1)
    regret_S = table.true_SA.max(axis=1) - table.true_SA[rows, chosen_S]
    top_S4 = -np.sort(-score_ST, axis=1)[:, :4]
    return np.column_stack([top_S4[:, 0], top_S4.mean(axis=1), regret_S, known_S])


def _text(rows: Sequence[Row]) -> str:
    lines = [
        "| table | trainings | policy | best | top 4 | regret | architectures |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row.table} | {row.trainings} | {row.policy} | {row.best:.4f} ± {row.best_se:.4f} "
        f"| {row.top4:.4f} ± {row.top4_se:.4f} | {row.regret:.4f} ± {row.regret_se:.4f} "
        f"| {row.architectures:.0f} |"
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
