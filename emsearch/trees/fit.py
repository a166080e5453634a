"""Whether a tree fits a target and its limits, and how it is mended where it does not."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2, sqrt

from emsearch.trees.arithmetic import Limits, Target, divisor, memory_gb, step_s
from emsearch.trees.families import thin_of
from emsearch.trees.grow import set_value
from emsearch.trees.node import Tree
from emsearch.trees.plan import Plan
from emsearch.trees.ranges import Range
from emsearch.trees.settings import SETTINGS, Inherited
from emsearch.trees.tally import tally_of

__all__ = ["SMALLEST_PLANE", "Misfit", "find_misfit", "levels_within", "mended", "thin_for"]

SMALLEST_PLANE = 4
"""Voxels in y and x that the lowest resolution keeps at least."""
ROUNDS = 6
"""Times that a tree is narrowed before another is drawn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Misfit:
    """A limit that a tree breaks."""

    limit: str
    """Name of the limit."""
    message: str
    ratio: float
    """Allowed over needed, below 1."""


def levels_within(patch_zyx: tuple[int, int, int]) -> int:
    """Return how often a patch can be halved in y and x."""
    return min(_halvings(size) for size in patch_zyx[1:])


def thin_for(target: Target, levels: int) -> int:
    """Return how many of the finest resolutions leave z alone, by the voxel and the patch."""
    return min(max(thin_of(target.aspect), levels - _evenly(target.patch_zyx[0])), levels)


def _halvings(size: int) -> int:
    return max(min(_evenly(size), int(log2(max(size // SMALLEST_PLANE, 1)))), 0)


def _evenly(size: int) -> int:
    """Return how often a size can be halved without a remainder."""
    return (size & -size).bit_length() - 1


def find_misfit(plan: Plan, target: Target, limits: Limits) -> Misfit | None:
    """Return the first limit that a plan breaks, None where it fits."""
    step_zyx = divisor(plan)
    if any(size % step for size, step in zip(target.patch_zyx, step_zyx, strict=True)):
        message = f"patch_zyx {target.patch_zyx} is no multiple of {step_zyx}"
        return Misfit(limit="patch_zyx", message=message, ratio=0.0)
    tally = tally_of(plan, target.channels, target.classes, target.patch_zyx)
    batch = target.batch_size
    needs = (
        ("max_parameters", tally.parameters, limits.max_parameters),
        ("max_memory_gb", memory_gb(tally, batch), limits.max_memory_gb),
        ("max_step_s", step_s(tally, batch, limits), limits.max_step_s),
    )
    for name, needed, allowed in needs:
        if allowed is not None and needed > allowed:
            message = f"{name} is {allowed:,}; it needs {needed:,.6g}"
            return Misfit(limit=name, message=message, ratio=allowed / needed)
    return None


def mended(tree: Tree, misfit: Misfit, ranges: Sequence[Range], target: Target) -> Tree | None:
    """Return the tree changed at the root so that it comes nearer to fitting; None if it cannot."""
    values = Inherited.defaults().below(tree.root.deltas).values
    if misfit.limit == "patch_zyx":
        thin = values["levels"] - _evenly(target.patch_zyx[0])
        can_thin = values["dimensions"] == 3 and thin > values["thin"]
        return set_value(tree, (), "thin", thin) if can_thin else None
    lowest = next((range_.root[0] for range_ in ranges if range_.name == "width"), None)
    if lowest is None or values["width"] <= lowest:
        return None
    narrow = int(values["width"] * sqrt(misfit.ratio))
    width = max(min(narrow, values["width"] - 1), int(lowest), int(SETTINGS["width"].lowest))
    return set_value(tree, (), "width", width)
