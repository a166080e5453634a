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
from statistics import median
from typing import Any

from emsearch.trees.arithmetic import Limits, Target
from emsearch.trees.sample import draw
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
    """Draw `count` trees from all families; duplicates are counted and not issued."""
    space = make_space(["mixed"], {})
    seen: set[str] = set()
    failures = redrawn = 0
    start_s = time.perf_counter()
    for number in range(count):
        try:
            found = draw(space, 2, number, TARGET, LIMITS)
        except ValueError:
            failures += 1
            continue
        seen.add(found.digest)
        redrawn += len(found.redrawn)
    took_s = time.perf_counter() - start_s
    return {
        "what": "mixed, all draws",
        "trees": count,
        "trees_per_s": round(count / took_s),
        "distinct": len(seen),
        "redrawn": redrawn,
        "failures": failures,
    }


def neps_sampler() -> Callable[[], object] | None:
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
    inner = block.resample()
    for _ in range(4):
        level = neps.Operation(
            operator="level", args=(block.resample(), inner, block.resample()), kwargs=edges
        )
        inner = neps.Categorical(choices=(block.resample(), level.resample())).resample()
    space = type("Grammar", (neps.PipelineSpace,), {"network": inner})()
    return lambda: spaces.resolve(space)


def measure_neps(count: int) -> Row:
    """Draw `count` pipelines with NePS; it neither checks limits nor digests."""
    sample = neps_sampler()
    if sample is None:
        return {"what": "NePS", "trees_per_s": "not installed"}
    sample()
    start_s = time.perf_counter()
    for _ in range(count):
        sample()
    took_s = time.perf_counter() - start_s
    return {"what": "NePS, drawn alone", "trees": count, "trees_per_s": round(count / took_s, 1)}


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
