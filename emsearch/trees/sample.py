"""Random trees: tree `number` of a study depends on (seed, number) alone."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count
from random import Random

from emsearch.errors import SpecError
from emsearch.trees.arithmetic import Limits, Target
from emsearch.trees.families import find_family
from emsearch.trees.fit import ROUNDS, Misfit, find_misfit, levels_within, mended
from emsearch.trees.grow import grown, pruned
from emsearch.trees.node import Node, Tree
from emsearch.trees.plan import Plan, digest_of
from emsearch.trees.ranges import Range
from emsearch.trees.space import Space
from emsearch.trees.walk import Walk

__all__ = ["Draw", "Sampler", "draw", "draw_distinct", "draw_new", "first_fitting", "sampler_for"]

MOST_IN_VAIN = 1000
"""Draws in a row of networks that are known already before a space counts as exhausted."""
TRIES = 60
"""Trees drawn before a space counts as having none that fits."""
FLAT = Misfit(limit="family", message="a network of a 3-D family must look along z", ratio=0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """A tree that fits, and what it took to find it."""

    tree: Tree
    plan: Plan
    """What the tree comes to."""
    digest: str
    mended: tuple[str, ...] = ()
    """Why this tree was made smaller, in the words of the limits that it broke."""
    redrawn: tuple[str, ...] = ()
    """Why trees before it were dropped, one entry a tree."""
    number: int = 0
    """Its place in the study's row of random trees."""


def draw(space: Space, seed: int, number: int, target: Target, limits: Limits) -> Draw:
    """Return random tree `number` of the study with this seed, which fits target and limits.

    Raises SpecError that names the limit to blame where no tree fits after many tries.
    """

    def propose(attempt: int) -> Tree:
        rng = Random(f"{seed}/{number}/{attempt}")
        family = space.families[int(rng.random() * len(space.families))]
        sampler = sampler_for(space, family, target)
        return Tree(family, sampler.walk.draw(sampler.start, rng))

    found = first_fitting(propose, space, target, limits)
    return replace(found, number=number)


def first_fitting(
    propose: Callable[[int], Tree], space: Space, target: Target, limits: Limits
) -> Draw:
    """Return the first of the trees proposed for attempt 0, 1, ... that fits, mended if need be.

    Raises SpecError that names the limit to blame where none fits after many tries.
    """
    redrawn: list[Misfit] = []
    for attempt in range(TRIES):
        tree = propose(attempt)
        ranges = sampler_for(space, tree.family, target).ranges
        found = _fitted(tree, ranges, target, limits)
        if not isinstance(found, Misfit):
            return replace(found, redrawn=tuple(misfit.message for misfit in redrawn))
        redrawn.append(found)
    raise SpecError(_blame(redrawn))


def draw_distinct(space: Space, seed: int, target: Target, limits: Limits) -> Iterator[Draw]:
    """Yield draws in the order of their numbers without any whose network was there before.

    Raises SpecError where the space seems to hold no other network.
    """
    yield from draw_new(space, seed, target, limits, first=0, known=set())


def draw_new(
    space: Space, seed: int, target: Target, limits: Limits, *, first: int, known: set[str]
) -> Iterator[Draw]:
    """Yield draws from number `first` on whose digests are not `known`; those become known.

    Raises SpecError where the space seems to hold no other network.
    """
    in_vain = 0
    for number in count(first):
        drawn = draw(space, seed, number, target, limits)
        if drawn.digest not in known:
            known.add(drawn.digest)
            in_vain = 0
            yield drawn
            continue
        in_vain += 1
        if in_vain == MOST_IN_VAIN:
            raise SpecError(
                f"the space seems to hold only {len(known)} different networks within the limits;"
                " ask for fewer candidates, or widen space.ranges or a limit"
            )


@dataclass(frozen=True, slots=True)
class Sampler:
    """What all draws of one family for one target share."""

    start: Node
    ranges: tuple[Range, ...]
    walk: Walk


@lru_cache(maxsize=64)
def sampler_for(space: Space, family: str, target: Target) -> Sampler:
    """Return what draws of a family for a target share. Raises SpecError."""
    most = levels_within(target.patch_zyx)
    ranges = tuple(_clipped(range_, most) for range_ in space.of_family(family))
    start = pruned(grown(find_family(family).start(target.aspect)))
    return Sampler(start, ranges, Walk(ranges))


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


def _fitted(tree: Tree, ranges: tuple[Range, ...], target: Target, limits: Limits) -> Draw | Misfit:
    """Return the tree, mended where needed; or what it breaks in the end."""
    reasons: list[str] = []
    while True:
        plan = tree.plan()
        if find_family(tree.family).is_deep and plan.get("dimensions") == 2:
            return FLAT
        misfit = find_misfit(plan, target, limits)
        if misfit is None:
            return Draw(tree=tree, plan=plan, digest=digest_of(plan), mended=tuple(reasons))
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
