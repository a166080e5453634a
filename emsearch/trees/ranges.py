"""What may be drawn for one setting, level by level from the root."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from emsearch.errors import SpecError
from emsearch.trees.settings import SETTINGS, Number, find_setting

__all__ = ["Range", "amounts", "choices", "read_range"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """Values of one setting at the root, deltas below, and how often either is drawn."""

    name: str
    root: tuple[Number, ...]
    """Smallest and largest amount; for a choice the indices of the options allowed.

    Effective values stay within it at every node.
    """
    below: tuple[tuple[Number, Number], ...] = ()
    """Smallest and largest delta at levels 1, 2, ...; the last holds for all deeper ones."""
    rates: tuple[float, ...] = (1.0, 0.0)
    """Chance that a node at level 0, 1, ... draws; the last holds for all deeper ones."""
    is_logarithmic: bool = False
    """Whether amounts at the root are drawn by their order of magnitude."""

    @property
    def words(self) -> str:
        """What roots draw from."""
        setting = SETTINGS[self.name]
        if setting.options:
            return ", ".join(str(setting.options[int(number)]) for number in self.root)
        return " to ".join(str(number) for number in dict.fromkeys(self.root))

    def rate(self, level: int) -> float:
        """Return the chance that a node at `level` draws."""
        return self.rates[min(level, len(self.rates) - 1)]

    def deltas(self, level: int) -> tuple[Number, Number]:
        """Return the smallest and the largest delta at `level`, 1 or deeper."""
        return self.below[min(level, len(self.below)) - 1] if self.below else (0, 0)


def amounts(
    name: str,
    root: tuple[Number, Number],
    below: Sequence[tuple[Number, Number]] = (),
    rates: Sequence[float] = (1.0, 0.0),
) -> Range:
    """Return a range of amounts. Raises SpecError."""
    setting = find_setting(name)
    for amount in root:
        setting.number(amount)
    if root[0] > root[1]:
        raise SpecError(f"{name} = {list(root)}: the smallest comes first")
    is_logarithmic = name == "width"
    return Range(
        name=name,
        root=root,
        below=tuple(below),
        rates=tuple(rates),
        is_logarithmic=is_logarithmic,
    )


def choices(name: str, options: Sequence[Any], rates: Sequence[float] = (1.0, 0.0)) -> Range:
    """Return a range of options. Raises SpecError."""
    setting = find_setting(name)
    if not options:
        raise SpecError(f"{name} = []: allow at least one of {list(setting.options)}")
    allowed = tuple(sorted({int(setting.number(option)) for option in options}))
    return Range(name=name, root=allowed, rates=tuple(rates))


def read_range(name: str, given: Any, default: Range | None) -> Range:
    """Return the range that a study file gives for a setting.

    An amount takes [smallest, largest], a choice a list of options, either a single value. A table
    also holds `below`, pairs of deltas by level, and `rates`, chances by level. What is not given
    stays as in `default`. Raises SpecError with the key, what was given and what is allowed.
    """
    if name not in SETTINGS:
        known = ", ".join(sorted(SETTINGS))
        raise SpecError(f"space.ranges.{name} = {given!r}: no such setting; known: {known}")
    try:
        return _read(name, given, default)
    except SpecError as error:
        raise SpecError(f"space.ranges.{error}") from None


def _read(name: str, given: Any, default: Range | None) -> Range:
    if not isinstance(given, Mapping):
        return _with_root(name, given, default)
    if unknown := set(given) - {"root", "below", "rates"}:
        key = f"{name}.{min(unknown)}"
        raise SpecError(f"{key} = {given[min(unknown)]!r}: known here: root, below, rates")
    base = _with_root(name, given["root"], default) if "root" in given else default
    if base is None:
        raise SpecError(f"{name} = {dict(given)!r}: the family draws none; give root, too")
    below, rates = base.below, base.rates
    if "below" in given:
        below = tuple(
            _pair(f"{name}.below", pair) for pair in _listed(f"{name}.below", given["below"])
        )
    if "rates" in given:
        rates = tuple(_rate(f"{name}.rates", r) for r in _listed(f"{name}.rates", given["rates"]))
    return replace(base, below=below, rates=rates)


def _with_root(name: str, given: Any, default: Range | None) -> Range:
    listed = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    if SETTINGS[name].options:
        fresh = choices(name, listed)
    else:
        if len(listed) not in {1, 2}:
            raise SpecError(f"{name} = {given!r}: it is [smallest, largest] or one amount")
        fresh = amounts(name, (listed[0], listed[-1]))
    if default is None:
        return fresh
    # What a user asks for is drawn at every root, also where the family leaves it alone.
    return replace(default, root=fresh.root, rates=(1.0, *default.rates[1:]))


def _listed(key: str, given: Any) -> list[Any]:
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise SpecError(f"{key} = {given!r}: it is a list, one entry a level")
    return list(given)


def _is_number(given: Any) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool)


def _pair(key: str, given: Any) -> tuple[Number, Number]:
    is_pair = isinstance(given, Sequence) and len(given) == 2 and all(map(_is_number, given))
    if not is_pair or given[0] > given[1]:
        raise SpecError(f"{key} = {given!r}: each level has [smallest, largest] delta")
    return given[0], given[1]


def _rate(key: str, given: Any) -> float:
    if not _is_number(given) or not 0 <= given <= 1:
        raise SpecError(f"{key} = {given!r}: each level has a chance from 0 to 1")
    return float(given)
