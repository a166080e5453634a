"""One breadth-first walk that draws a tree or changes one: sampling and mutation alike."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp, log
from random import Random
from typing import NamedTuple

from emsearch.trees.grow import match
from emsearch.trees.kinds import KINDS
from emsearch.trees.node import Node
from emsearch.trees.ranges import Range
from emsearch.trees.settings import SETTINGS, Inherited, Number

__all__ = ["Walk"]


@dataclass(slots=True)
class _Spot:
    """A node in the making."""

    start: Node
    inherited: Inherited
    level: int
    deltas: tuple[tuple[str, Number], ...] = ()
    children: "list[_Spot | Node]" = field(default_factory=list)
    """Those that may change, and those that stay as they are."""

    def node(self) -> Node:
        children = [part.node() if isinstance(part, _Spot) else part for part in self.children]
        return Node(self.start.kind, self.deltas, tuple(children))


class _Rule(NamedTuple):
    """How nodes of one kind draw at one level."""

    chance_of_none: float
    active: list[tuple[Range, float]]
    """The ranges that may be drawn, each with its chance."""
    is_still: bool
    """Whether such a node draws nothing and holds nothing that could."""


class Walk:
    """Visits nodes breadth-first; each draws by the ranges of its level.

    Children follow from the settings drawn so far, so that the walk always ends.
    """

    def __init__(self, ranges: Sequence[Range]) -> None:
        self._ranges = ranges
        self._rules: list[dict[str, _Rule]] = []
        """By level, how nodes of each kind draw."""

    def draw(self, start: Node, rng: Random) -> Node:
        """Return a new tree: the root draws anew, nodes below draw deltas."""
        return self._walk(start, rng, is_additive=False)

    def mutate(self, start: Node, rng: Random, rate: float = 1.0) -> Node:
        """Return a changed tree: nodes add to their deltas, at `rate` times the rates."""
        return self._walk(start, rng, is_additive=True, rate=rate)

    def _walk(self, start: Node, rng: Random, *, is_additive: bool, rate: float = 1.0) -> Node:
        root = _Spot(start, Inherited.defaults(), 0)
        queue = [root]
        for spot in queue:
            node, here = spot.start, spot.inherited
            if node.deltas:
                here = here.below(node.deltas)
            spot.deltas = node.deltas
            drawn = _drawn(self._rules_at(spot.level)[node.kind], rng, rate)
            if drawn:
                changes = _changes(drawn, here, spot.level, rng, is_additive=is_additive)
                spot.deltas = _summed(node.deltas, changes)
                here = here.below(changes)
            kinds = KINDS[node.kind].inside(here.values)
            if kinds:
                self._enter(spot, match(node.children, kinds), here, queue)
        return root.node()

    def _enter(
        self, spot: _Spot, children: list[Node], here: Inherited, queue: list[_Spot]
    ) -> None:
        """Give a spot its children; those that may change are queued."""
        level = spot.level + 1
        rules = self._rules_at(level)
        for child in children:
            if rules[child.kind].is_still:
                spot.children.append(child)
            else:
                below = _Spot(child, here, level)
                spot.children.append(below)
                queue.append(below)

    def _rules_at(self, level: int) -> dict[str, _Rule]:
        while level >= len(self._rules):
            self._rules.append({kind: self._find_rule(kind, len(self._rules)) for kind in KINDS})
        return self._rules[level]

    def _find_rule(self, kind: str, level: int) -> _Rule:
        accepts = KINDS[kind].accepts
        active = [(r, r.rate(level)) for r in self._ranges if r.name in accepts and r.rate(level)]
        chance_of_none = 1.0
        for _, chance in active:
            chance_of_none *= 1 - chance
        return _Rule(chance_of_none, active, is_still=not active and KINDS[kind].is_leaf)


def _drawn(rule: _Rule, rng: Random, rate: float) -> list[Range]:
    """Return the ranges by which a node draws."""
    if not rule.active or (rate == 1.0 and rng.random() < rule.chance_of_none):
        return []
    while True:  # one number says whether any is drawn; then, which
        drawn = [range_ for range_, chance in rule.active if rng.random() < chance * rate]
        if drawn or rate != 1.0:
            return drawn


def _changes(
    drawn: list[Range], here: Inherited, level: int, rng: Random, *, is_additive: bool
) -> list[tuple[str, Number]]:
    changes = []
    for range_ in drawn:
        old = here.sums[range_.name]
        if level == 0 and not is_additive:
            new = _anew(range_, rng)
        else:
            new = _moved(range_, old, max(level, 1), rng)
        if new != old:
            changes.append((range_.name, _rounded(new - old)))
    return changes


def _rounded(delta: Number) -> Number:
    return round(delta, 4) if isinstance(delta, float) else delta


def _anew(range_: Range, rng: Random) -> Number:
    """Return a sum of deltas drawn from the range at the root."""
    chance = rng.random()
    if SETTINGS[range_.name].options:
        return range_.root[int(chance * len(range_.root))]
    low, high = range_.root
    if isinstance(SETTINGS[range_.name].default, float):
        return round(low + chance * (high - low), 2)
    if range_.is_logarithmic:
        return min(int(exp(log(low) + chance * (log(high + 1) - log(low)))), int(high))
    return int(low + int(chance * (high - low + 1)))


def _moved(range_: Range, old: Number, level: int, rng: Random) -> Number:
    """Return a sum of deltas near `old`, within the range of the root."""
    chance = rng.random()
    if SETTINGS[range_.name].options:
        return range_.root[int(chance * len(range_.root))]
    low, high = range_.deltas(level)
    if isinstance(SETTINGS[range_.name].default, float):
        moved: Number = round(old + low + chance * (high - low), 2)
    else:
        moved = old + int(low) + int(chance * (high - low + 1))
    return min(max(moved, range_.root[0]), range_.root[-1])


def _summed(
    deltas: tuple[tuple[str, Number], ...], changes: list[tuple[str, Number]]
) -> tuple[tuple[str, Number], ...]:
    sums = dict(deltas)
    for name, change in changes:
        sums[name] = _rounded(sums.get(name, 0) + change)
    return tuple(sorted((name, delta) for name, delta in sums.items() if delta))
