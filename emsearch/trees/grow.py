"""Trees from sketches, and changes to trees: children always follow from the settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from emsearch.errors import SpecError
from emsearch.trees.kinds import KINDS, find_kind
from emsearch.trees.node import Node, Tree
from emsearch.trees.settings import Inherited, Number, Value, find_setting

__all__ = ["Sketch", "grown", "match", "pruned", "regrown", "set_value", "solve"]


_BARE = {kind: Node(kind) for kind in KINDS}
"""Nodes that set nothing and hold nothing yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sketch:
    """A node as people write it: settings by their values, and only the children that differ."""

    kind: str
    values: Mapping[str, Value] = field(default_factory=dict)
    """Effective values at the node."""
    inside: Mapping[int, "Sketch"] = field(default_factory=dict)
    """Children that set something, by their place; what is not there inherits all."""


def grown(sketch: Sketch, inherited: Inherited | None = None) -> Node:
    """Return the node that a sketch asks for, with its children. Raises SpecError."""
    inherited = inherited or Inherited.defaults()
    deltas = tuple(
        sorted((name, solve(name, value, inherited)) for name, value in sketch.values.items())
    )
    here = inherited.below(deltas)
    kinds = find_kind(sketch.kind).inside(here.values)
    children = (
        grown(sketch.inside.get(place, Sketch(kind=kind)), here) for place, kind in enumerate(kinds)
    )
    return Node(sketch.kind, tuple(delta for delta in deltas if delta[1]), tuple(children))


def solve(name: str, value: Value, inherited: Inherited) -> Number:
    """Return the delta that gives setting `name` the effective `value` here. Raises SpecError."""
    delta = find_setting(name).number(value) - inherited.sums[name]
    return round(delta, 4) if isinstance(delta, float) else delta


def match(children: Sequence[Node], kinds: Sequence[str]) -> list[Node]:
    """Return nodes of these kinds: old children keep their deltas, place by place of each kind."""
    if not children:
        return [_BARE[kind] for kind in kinds]
    old: dict[str, list[Node]] = {}
    for child in reversed(children):
        old.setdefault(child.kind, []).append(child)
    return [old[kind].pop() if old.get(kind) else _BARE[kind] for kind in kinds]


def pruned(node: Node) -> Node:
    """Return `node` without children where none sets anything: they grow again by themselves."""
    children = tuple(pruned(child) for child in node.children)
    is_bare = all(not child.deltas and not child.children for child in children)
    return Node(node.kind, node.deltas, () if is_bare else children)


def regrown(node: Node, inherited: Inherited) -> Node:
    """Return `node` with the children that its settings ask for; old ones keep their deltas."""
    here = inherited.below(node.deltas)
    kinds = find_kind(node.kind).inside(here.values)
    children = tuple(regrown(child, here) for child in match(node.children, kinds))
    return Node(node.kind, node.deltas, children)


def set_value(tree: Tree, path: Sequence[int], name: str, value: Value) -> Tree:
    """Return `tree` with an effective value set at the node that `path` leads to.

    `path` holds the place of a child at each step from the root. The delta is solved for, and
    what is below grows or loses children as the new value asks. Raises SpecError.
    """
    return Tree(tree.family, _with_value(tree.root, Inherited.defaults(), path, (name, value)))


def _with_value(
    node: Node, inherited: Inherited, path: Sequence[int], setting: tuple[str, Value]
) -> Node:
    if path:
        place, *rest = path
        if not 0 <= place < len(node.children):
            count = len(node.children)
            raise SpecError(f"a {node.kind} with {count} children has no child {place}")
        here = inherited.below(node.deltas)
        changed = _with_value(node.children[place], here, rest, setting)
        children = (*node.children[:place], changed, *node.children[place + 1 :])
        return Node(node.kind, node.deltas, children)
    name, value = setting
    accepts = find_kind(node.kind).accepts
    if name not in accepts:
        raise SpecError(f"a {node.kind} has no setting {name!r}; it has {sorted(accepts)}")
    deltas = {**dict(node.deltas), name: solve(name, value, inherited)}
    kept = tuple(sorted((key, delta) for key, delta in deltas.items() if delta))
    return regrown(Node(node.kind, kept, node.children), inherited)
