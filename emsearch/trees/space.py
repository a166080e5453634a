"""A space: the families that may be drawn, with a user's own ranges over theirs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emsearch.errors import SpecError
from emsearch.trees.families import FAMILIES, find_family
from emsearch.trees.ranges import Range, read_range

__all__ = ["MIXED", "Space", "make_space"]

MIXED = "mixed"
"""Stands for all families: each draw takes one of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """What may be drawn."""

    families: tuple[str, ...]
    """Each draw takes one of them, each as often as the others."""
    ranges: tuple[tuple[str, tuple[Range, ...]], ...]
    """By family, what may be drawn for each setting."""

    def of_family(self, family: str) -> tuple[Range, ...]:
        """Return the ranges of one family."""
        return dict(self.ranges)[family]


def make_space(families: Sequence[str], ranges: Mapping[str, Any]) -> Space:
    """Return the space of these families, with `ranges` in place of their own.

    A key of `ranges` is a setting, or a family with a table of settings for it alone. Raises
    SpecError with the key, what was given and what is allowed.
    """
    if not families:
        raise SpecError(f"space.families = []: name at least one of {[*FAMILIES, MIXED]}")
    for name in families:
        if name not in {*FAMILIES, MIXED}:
            raise SpecError(f"space.families: no family {name!r}; known: {[*FAMILIES, MIXED]}")
    expanded = [f for name in families for f in (FAMILIES if name == MIXED else (name,))]
    chosen = tuple(dict.fromkeys(expanded))
    common, own = _split(ranges)
    if unused := set(own) - set(chosen):
        key = min(unused)
        raise SpecError(
            f"space.ranges.{key} = {own[key]!r}: space.families has no such family; it has"
            f" {list(chosen)}"
        )
    return Space(
        families=chosen,
        ranges=tuple(
            (family, _ranges(family, {**common, **own.get(family, {})})) for family in chosen
        ),
    )


def _split(ranges: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    common = {key: given for key, given in ranges.items() if key not in FAMILIES}
    own: dict[str, dict[str, Any]] = {}
    for key in ranges.keys() & FAMILIES.keys():
        if not isinstance(ranges[key], Mapping):
            raise SpecError(f"space.ranges.{key} = {ranges[key]!r}: it is a table of settings")
        own[key] = dict(ranges[key])
    return common, own


def _ranges(family: str, given: Mapping[str, Any]) -> tuple[Range, ...]:
    merged = {range_.name: range_ for range_ in find_family(family).ranges}
    for name, value in given.items():
        merged[name] = read_range(name, value, merged.get(name))
    return tuple(merged[name] for name in sorted(merged))
