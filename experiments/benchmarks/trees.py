"""How fast module trees are drawn, checked and digested, on one core.

Run it as `python experiments/benchmarks/trees.py [--draws 100000]`; it prints a table and, last, a
line of JSON. Where NePS is installed, it draws from a comparable recursive grammar in the same run.
"""

import argparse
import importlib
import json
import platform
import time
from collections.abc import Callable
from itertools import islice
from statistics import median
from typing import Any

from emsearch.trees.arithmetic import Limits, Target
from emsearch.trees.sample import draw, draw_distinct
from emsearch.trees.space import make_space

TARGET = Target(classes=7, patch_zyx=(16, 128, 128), batch_size=2, voxel_nm=(40, 10, 10))
LIMITS = Limits(max_parameters=100_000_000, max_memory_gb=40)
Row = dict[str, Any]


def measure_family(family: str, count: int) -> Row:
    """Draw `count` trees of a family; each is checked against limits and digested."""
    space = make_space([family], {})
    draw(space, 0, 0, TARGET, LIMITS)
    start_s = time.perf_counter()
    draws = [draw(space, 1, number, TARGET, LIMITS) for number in range(count)]
    took_s = time.perf_counter() - start_s
    return {
        "what": family,
        "trees": count,
        "trees_per_s": round(count / took_s),
        "median_nodes": median(sum(1 for _ in found.tree.walk()) for found in draws),
        "distinct": len({found.digest for found in draws}),
        "mended": sum(bool(found.mended) for found in draws),
        "redrawn": sum(len(found.redrawn) for found in draws),
    }


def measure_mixed(count: int) -> Row:
    """Issue `count` trees from all families, each another network; a failure would raise."""
    space = make_space(["mixed"], {})
    start_s = time.perf_counter()
    draws = list(islice(draw_distinct(space, 2, TARGET, LIMITS), count))
    took_s = time.perf_counter() - start_s
    return {
        "what": "mixed, each tree once",
        "trees": count,
        "trees_per_s": round(count / took_s),
        "distinct": len({found.digest for found in draws}),
        "redrawn": sum(len(found.redrawn) for found in draws),
        "left_out": draws[-1].number + 1 - count,
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


def measure_neps(count: int) -> Row:
    """Draw `count` pipelines with NePS; it neither checks limits nor digests."""
    sample = neps_sampler()
    if sample is None:
        return {"what": "NePS", "trees_per_s": "not installed"}
    sample()
    start_s = time.perf_counter()
    drawn = [sample() for _ in range(count)]
    took_s = time.perf_counter() - start_s
    return {
        "what": "NePS, drawn alone",
        "trees": count,
        "trees_per_s": round(count / took_s, 1),
        "median_nodes": median(map(count_operations, drawn)),
    }


def count_operations(operation: Any) -> int:
    """Return how many operations a resolved NePS pipeline has."""
    return 1 + sum(count_operations(part) for part in operation.args)


def main() -> None:
    """Run it all and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trees", type=int, default=2000, help="trees of each family")
    parser.add_argument("--draws", type=int, default=100_000, help="draws from mixed")
    parser.add_argument("--neps", type=int, default=200, help="pipelines drawn with NePS")
    given = parser.parse_args()
    families = make_space(["mixed"], {}).families
    rows = [measure_family(family, given.trees) for family in (*families, "mixed")]
    rows += [measure_mixed(given.draws), measure_neps(given.neps)]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(str(row.get(column, "")) for column in columns) + " |")
    print(json.dumps({"python": platform.python_version(), "rows": rows}))


if __name__ == "__main__":
    main()
