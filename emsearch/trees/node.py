"""A module tree: frozen data that describes a network, module within module."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from emsearch.errors import SpecError
from emsearch.trees.effective import check_structure, effective
from emsearch.trees.plan import Plan, digest_of
from emsearch.trees.settings import Inherited, Number

__all__ = ["FORMAT", "Node", "Tree"]

FORMAT = 1
"""Version of the dictionaries that trees are written as."""


class Node(NamedTuple):
    """One module: its kind, its own deltas, and the modules inside it."""

    kind: str
    """A key of `kinds.KINDS`, such as "convolution"."""
    deltas: tuple[tuple[str, Number], ...] = ()
    """What this node adds to settings that it inherits, by name, in the order of the names."""
    children: tuple["Node", ...] = ()
    """The modules and edges inside, first to last."""

    def walk(self) -> Iterator["Node"]:
        """Yield this node and all below it, each before its children."""
        yield self
        for child in self.children:
            yield from child.walk()

    def to_dict(self) -> dict[str, Any]:
        """Return the node as JSON-ready values; what is empty is left out."""
        values: dict[str, Any] = {"kind": self.kind}
        if self.deltas:
            values["deltas"] = dict(self.deltas)
        if self.children:
            values["children"] = [child.to_dict() for child in self.children]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Node":
        """Return the node that `to_dict` gave `values`. Raises SpecError."""
        if not isinstance(values, dict) or not isinstance(values.get("kind"), str):
            raise SpecError(
                f'a node is {{"kind": ..., "deltas": ..., "children": ...}}, got {values!r}'
            )
        if unknown := set(values) - {"kind", "deltas", "children"}:
            raise SpecError(f"a node has no {sorted(unknown)}; it has kind, deltas and children")
        deltas, children = values.get("deltas", {}), values.get("children", [])
        _check_numbers(deltas)
        return cls(
            values["kind"],
            tuple(sorted(deltas.items())),
            tuple(cls.from_dict(child) for child in children),
        )


@dataclass(frozen=True, slots=True)
class Tree:
    """A whole network's description, and the family that it was drawn from."""

    family: str
    root: Node

    def walk(self) -> Iterator[Node]:
        """Yield every node, each before its children."""
        return self.root.walk()

    def digest(self) -> str:
        """Return 12 hex digits: equal networks have equal digests, on every machine."""
        return digest_of(self.plan())

    def plan(self) -> Plan:
        """Return what the deltas come to: the effective, canonical tree."""
        return effective(self.root)

    def to_dict(self) -> dict[str, Any]:
        """Return the tree as JSON-ready values."""
        return {"format": FORMAT, "family": self.family, "root": self.root.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Tree":
        """Return the tree that `to_dict` gave `values`. Raises SpecError."""
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise SpecError(f"a tree of format {FORMAT} is wanted, got {str(values)[:80]}")
        root = Node.from_dict(values.get("root", {}))
        check_structure(root, Inherited.defaults())
        return cls(str(values.get("family", "")), root)


def _check_numbers(deltas: dict[str, Any]) -> None:
    for name, delta in deltas.items():
        if isinstance(delta, bool) or not isinstance(delta, int | float):
            raise SpecError(f"the delta of {name!r} must be a number, got {delta!r}")
