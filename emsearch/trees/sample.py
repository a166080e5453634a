"""Random trees: tree `number` of a study depends on (seed, number) alone."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random

from emsearch.errors import SpecError
from emsearch.trees.arithmetic import Limits, Target
from emsearch.trees.effective import Plan, digest_of
from emsearch.trees.families import find_family
from emsearch.trees.fit import ROUNDS, Misfit, find_misfit, levels_within, mended
from emsearch.trees.grow import grown
from emsearch.trees.node import Node, Tree
from emsearch.trees.ranges import Range
from emsearch.trees.space import Space
from emsearch.trees.walk import Walk

__all__ = ["Draw", "draw", "draw_distinct"]

TRIES = 60
"""Trees drawn before a space counts as having none that fits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """A tree that fits, and what it took to find it."""

    number: int
    tree: Tree
    plan: Plan
    """What the tree comes to."""
    digest: str
    mended: tuple[str, ...] = ()
    """Why this tree was made smaller, in the words of the limits that it broke."""
    redrawn: tuple[str, ...] = ()
    """Why trees before it were dropped, one entry a tree."""


def draw(space: Space, seed: int, number: int, target: Target, limits: Limits) -> Draw:
    """Return random tree `number` of the study with this seed, which fits target and limits.

    Raises SpecError that names the limit to blame where no tree fits after many tries.
    """
    redrawn: list[Misfit] = []
    for attempt in range(TRIES):
        rng = Random(f"{seed}/{number}/{attempt}")
        family = space.families[int(rng.random() * len(space.families))]
        sampler = _sampler(space, family, target)
        tree = Tree(family, sampler.walk.draw(sampler.start, rng))
        found = _fitted(tree, sampler.ranges, target, limits)
        if isinstance(found, Misfit):
            redrawn.append(found)
            continue
        tree, plan, reasons = found
        return Draw(
            number=number,
            tree=tree,
            plan=plan,
            digest=digest_of(plan),
            mended=reasons,
            redrawn=tuple(misfit.message for misfit in redrawn),
        )
    raise SpecError(_blame(redrawn))


def draw_distinct(space: Space, seed: int, target: Target, limits: Limits) -> Iterator[Draw]:
    """Yield draws in the order of their numbers without any whose network was there before."""
    seen: set[str] = set()
    number = 0
    while True:
        drawn = draw(space, seed, number, target, limits)
        if drawn.digest not in seen:
            seen.add(drawn.digest)
            yield drawn
        number += 1


@dataclass(frozen=True, slots=True)
class _Sampler:
    """What all draws of one family for one target share."""

    start: Node
    ranges: tuple[Range, ...]
    walk: Walk


@lru_cache(maxsize=64)
def _sampler(space: Space, family: str, target: Target) -> _Sampler:
    most = levels_within(target.patch_zyx)
    ranges = tuple(_clipped(range_, most) for range_ in space.of_family(family))
    start = grown(find_family(family).start(target.aspect))
    return _Sampler(start, ranges, Walk(ranges))


def _clipped(range_: Range, most: int) -> Range:
    if range_.name != "levels":
        return range_
    low, high = range_.root
    if low > most:
        raise SpecError(
            f"space.ranges.levels begins at {low}, but training.patch_zyx can be halved {most}"
            " times in y and x; use a larger power of 2 for the patch, or fewer levels"
        )
    return replace(range_, root=(low, min(high, most)))


def _fitted(
    tree: Tree, ranges: tuple[Range, ...], target: Target, limits: Limits
) -> tuple[Tree, Plan, tuple[str, ...]] | Misfit:
    """Return the tree, mended where needed, its plan and why; or what it breaks in the end."""
    reasons: list[str] = []
    while True:
        plan = tree.plan()
        misfit = find_misfit(plan, target, limits)
        if misfit is None:
            return tree, plan, tuple(reasons)
        changed = mended(tree, misfit, ranges, target) if len(reasons) < ROUNDS else None
        if changed is None:
            return misfit
        tree = changed
        reasons.append(misfit.message)


def _blame(misfits: list[Misfit]) -> str:
    counts = Counter(misfit.limit for misfit in misfits)
    limit, count = counts.most_common(1)[0]
    closest = max((m for m in misfits if m.limit == limit), key=lambda misfit: misfit.ratio)
    return (
        f"no tree fits: {count} of {len(misfits)} draws broke {limit}, the closest one so:"
        f" {closest.message}. Raise {limit}, or narrow space.ranges.width and levels"
    )
