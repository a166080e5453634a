"""How fast module trees are drawn, checked and digested, on one core.

Run it as `python experiments/benchmarks/trees.py [--json]`. Where NePS is installed, it
draws from a comparable recursive grammar in the same run, taking turns.
"""

import argparse
import importlib
import json
import platform
import time
from collections.abc import Callable
from itertools import count, islice
from statistics import median
from typing import Any

from emsearch.trees.arithmetic import Limits, Target
from emsearch.trees.sample import draw, draw_distinct
from emsearch.trees.space import MIXED, make_space

TARGET = Target(classes=7, patch_zyx=(16, 128, 128), batch_size=2, voxel_nm=(40, 10, 10))
LIMITS = Limits(max_parameters=100_000_000, max_memory_gb=40)
Row = dict[str, Any]
NEPS = "NePS, drawn alone"


def family_drawer(family: str) -> Callable[[int], None]:
    """Return what draws so many trees of a family; each is checked against limits and digested."""
    space = make_space([family], {})
    numbers = count()

    def run(trees: int) -> None:
        for _ in range(trees):
            draw(space, 1, next(numbers), TARGET, LIMITS)

    return run


def told_of_family(family: str, trees: int) -> Row:
    """Return what the first trees of a family are, and what it took to find them."""
    space = make_space([family], {})
    draws = [draw(space, 1, number, TARGET, LIMITS) for number in range(trees)]
    return {
        "median_nodes": median(sum(1 for _ in found.tree.walk()) for found in draws),
        "distinct": len({found.digest for found in draws}),
        "mended": sum(bool(found.mended) for found in draws),
        "redrawn": sum(len(found.redrawn) for found in draws),
    }


def rates(runs: dict[str, tuple[Callable[[int], object], int]], rounds: int) -> dict[str, float]:
    """Return how many each draws a second: the median over rounds that take turns."""
    seen: dict[str, list[float]] = {name: [] for name in runs}
    for run, _ in runs.values():
        run(1)
    for _ in range(rounds):
        for name, (run, trees) in runs.items():
            start_s = time.perf_counter()
            run(trees)
            seen[name].append(trees / (time.perf_counter() - start_s))
    return {name: median(values) for name, values in seen.items()}


def measure_mixed(trees: int) -> Row:
    """Issue so many trees from all families, each another network; a failure would raise."""
    space = make_space(["mixed"], {})
    digests: set[str] = set()
    redrawn = last = 0
    start_s = time.perf_counter()
    for found in islice(draw_distinct(space, 2, TARGET, LIMITS), trees):
        digests.add(found.digest)
        redrawn += len(found.redrawn)
        last = found.number
    took_s = time.perf_counter() - start_s
    return {
        "what": f"mixed, {trees:,} of which none twice",
        "trees_per_s": round(trees / took_s),
        "distinct": len(digests),
        "redrawn": redrawn,
        "drawn_before": last + 1 - trees,
    }


def neps_sampler() -> Callable[[], Any] | None:
    """Return a function that draws one pipeline from a grammar like ours; None without NePS."""
    try:
        neps = importlib.import_module("neps")
        spaces = importlib.import_module("neps.space.neps_spaces.neps_space")
    except ImportError:
        return None
    convolution = neps.Operation(
        operator="convolution",
        kwargs={
            "width": neps.Integer(8, 64).resample(),
            "kernel": neps.Categorical([3, 5]).resample(),
            "activation": neps.Categorical(["relu", "leaky_relu", "elu"]).resample(),
        },
    )
    block = neps.Categorical(
        choices=tuple(
            neps.Operation(operator=form, args=(convolution.resample(),) * convolutions)
            for form in ("plain", "residual")
            for convolutions in (1, 2, 3)
        )
    )
    edges = {
        "pool": neps.Categorical(["max", "average", "strided"]).resample(),
        "upsample": neps.Categorical(["transposed", "interpolated"]).resample(),
        "skip": neps.Categorical(["merge", "residual"]).resample(),
    }
    depths = [block.resample()]
    for _ in range(4):
        level = neps.Operation(
            operator="level", args=(block.resample(), depths[-1], block.resample()), kwargs=edges
        )
        depths.append(level.resample())
    network = neps.Categorical(choices=tuple(depths[1:]))
    space = type("Grammar", (neps.PipelineSpace,), {"network": network})()
    return lambda: spaces.resolve(space)[0].network


def count_operations(operation: Any) -> int:
    """Return how many operations a resolved NePS pipeline has."""
    return 1 + sum(count_operations(part) for part in operation.args)


def measure_families(trees: int, neps_trees: int, rounds: int) -> list[Row]:
    """Draw from every family and, where it is installed, with NePS, which checks no limits."""
    families = (*make_space([MIXED], {}).families, MIXED)
    runs: dict[str, tuple[Callable[[int], object], int]] = {
        family: (family_drawer(family), trees) for family in families
    }
    sample = neps_sampler()
    if sample is not None:
        runs[NEPS] = (lambda trees: [sample() for _ in range(trees)], neps_trees)
    per_s = rates(runs, rounds)
    rows: list[Row] = [
        {"what": family, "trees_per_s": round(per_s[family]), **told_of_family(family, trees)}
        for family in families
    ]
    if sample is None:
        return [*rows, {"what": NEPS, "trees_per_s": "not installed"}]
    nodes = median(count_operations(sample()) for _ in range(neps_trees))
    return [*rows, {"what": NEPS, "trees_per_s": round(per_s[NEPS], 1), "median_nodes": nodes}]


def main() -> None:
    """Run it all and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trees", type=int, default=500, help="trees of each family and round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--draws", type=int, default=100_000, help="draws from mixed")
    parser.add_argument("--neps", type=int, default=40, help="pipelines of NePS in a round")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args()
    rows = measure_families(given.trees, given.neps, given.rounds)
    if given.draws:
        rows.append(measure_mixed(given.draws))
    if given.json:
        print(json.dumps({"python": platform.python_version(), "rows": rows}))
        return
    columns = list(dict.fromkeys(key for row in rows for key in row))
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(str(row.get(column, "")) for column in columns) + " |")


if __name__ == "__main__":
    main()
