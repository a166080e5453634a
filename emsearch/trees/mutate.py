"""Trees made from trees: mutation by added deltas, crossover of subtrees."""

from collections.abc import Iterator
from random import Random

from emsearch.errors import SpecError
from emsearch.trees.arithmetic import Limits, Target
from emsearch.trees.grow import regrown
from emsearch.trees.kinds import EDGES, find_kind
from emsearch.trees.node import Node, Tree
from emsearch.trees.sample import Draw, first_fitting, sampler_for
from emsearch.trees.settings import Inherited, Number
from emsearch.trees.space import Space

__all__ = ["cross", "graft", "mutate"]

Path = tuple[int, ...]
"""The place of a child at each step from the root."""


def mutate(space: Space, tree: Tree, seed: int, target: Target, limits: Limits) -> Draw:
    """Return a changed tree that fits: the walk of sampling, with deltas added to those there are.

    It depends on `tree` and `seed` alone. Raises SpecError where the tree's family is not in the
    space, or no changed tree fits.
    """
    _check_family(space, tree)
    digest = tree.digest()
    walk = sampler_for(space, tree.family, target).walk

    def propose(attempt: int) -> Tree:
        rng = Random(f"mutate/{digest}/{seed}/{attempt}")
        changed = tree
        while changed.digest() == digest:
            changed = Tree(tree.family, walk.mutate(tree.root, rng))
        return changed

    return first_fitting(propose, space, target, limits)


def cross(
    space: Space, trees: tuple[Tree, Tree], seed: int, target: Target, limits: Limits
) -> Draw:
    """Return the first tree with a subtree of the second in place of one of the same kind.

    The subtree keeps its effective values. The result depends on trees and seed alone. Raises
    SpecError where the first tree's family is not in the space, or no such tree fits.
    """
    one, other = trees
    _check_family(space, one)
    digests = one.digest(), other.digest()
    places = [place for place in _places(one.root) if place[1].kind not in EDGES]
    donors = [place for place in _places(other.root) if place[1].kind not in EDGES]
    kinds = {node.kind for _, node, _ in donors}
    places = [place for place in places if place[0] and place[1].kind in kinds]

    def propose(attempt: int) -> Tree:
        rng = Random(f"cross/{digests}/{seed}/{attempt}")
        path, old, _ = places[int(rng.random() * len(places))]
        alike = [place for place in donors if place[1].kind == old.kind]
        _, new, above = alike[int(rng.random() * len(alike))]
        return graft(one, path, new, above)

    return first_fitting(propose, space, target, limits)


def graft(tree: Tree, path: Path, node: Node, above: Inherited) -> Tree:
    """Return `tree` with `node` at `path`; `above` is what the node inherited where it was.

    The node keeps the effective values of all that it may set, and children as its new place
    asks. Raises SpecError where the path leads nowhere or to another kind.
    """
    return Tree(tree.family, _grafted(tree.root, Inherited.defaults(), path, (node, above)))


def _grafted(here: Node, inherited: Inherited, path: Path, scion: tuple[Node, Inherited]) -> Node:
    if path:
        if not 0 <= path[0] < len(here.children):
            raise SpecError(f"a {here.kind} with {len(here.children)} children has no {path[0]}")
        below = inherited.below(here.deltas)
        child = _grafted(here.children[path[0]], below, path[1:], scion)
        children = (*here.children[: path[0]], child, *here.children[path[0] + 1 :])
        return Node(here.kind, here.deltas, children)
    node, above = scion
    if node.kind != here.kind:
        raise SpecError(f"a {node.kind} cannot stand where a {here.kind} was")
    wanted = above.below(node.deltas).sums
    deltas = tuple(
        (name, _difference(wanted[name], inherited.sums[name]))
        for name in sorted(find_kind(node.kind).accepts)
        if wanted[name] != inherited.sums[name]
    )
    return regrown(Node(node.kind, deltas, node.children), inherited)


def _difference(wanted: Number, inherited: Number) -> Number:
    delta = wanted - inherited
    return round(delta, 4) if isinstance(delta, float) else delta


def _places(root: Node) -> list[tuple[Path, Node, Inherited]]:
    """Return every node with its path and what it inherits."""
    return list(_walk(root, (), Inherited.defaults()))


def _walk(node: Node, path: Path, inherited: Inherited) -> Iterator[tuple[Path, Node, Inherited]]:
    yield path, node, inherited
    here = inherited.below(node.deltas)
    for place, child in enumerate(node.children):
        yield from _walk(child, (*path, place), here)


def _check_family(space: Space, tree: Tree) -> None:
    if tree.family not in space.families:
        known = ", ".join(space.families)
        raise SpecError(f"a tree of family {tree.family!r} is not of this space: {known}")
