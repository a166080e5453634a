"""Which settings of trees mattered: how far each alone tells candidates' scores apart.

Candidates are compared where all of them were scored, at the first rung. A setting's share is that
of the variance between the groups of candidates that it makes, less what as many groups make by
chance (omega squared). A share counts once it is higher than the highest that any setting reaches
when the scores are dealt out anew, nineteen times of twenty.

Axes: C candidate, D dealing.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection

from emsearch.ledger import queries
from emsearch.records.candidate import Origin
from emsearch.trees.kinds import find_kind
from emsearch.trees.labels import TITLES
from emsearch.trees.node import Node, Tree
from emsearch.trees.settings import Inherited, Value

__all__ = ["Influence", "Influences", "features", "influences", "shares"]

Floats = npt.NDArray[np.float64]
_FEWEST = 12  # candidates, for groups to mean anything
_GROUPS = 4  # of a setting with more values: by their quantiles
_DEALINGS = 200
_SHOWN = 8
_WHOLE = "whole network"
_NAMED = frozenset({"network", "encoder", "decoder", "block", "bottom", "pyramid"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Influence:
    """A setting of a module, and how far it tells scores apart."""

    module: str
    setting: str
    share: float
    """Of the variance of scores."""
    best: str
    """Value, or range of values, of the group that scored best."""
    part: float
    """The share beside the largest, in parts of 100."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Influences:
    """The settings that mattered more than chance makes it seem, most first."""

    lines: tuple[Influence, ...]
    candidates: int
    step: int
    """After which they were compared."""
    chance: float
    """Share that the most striking of all settings reaches by chance."""


def influences(connection: Connection, study_id: int, step: int) -> Influences | None:
    """Return what mattered among a study's drawn and bred trees; None with too few of them."""
    scores: dict[int, list[float]] = defaultdict(list)
    for row in queries.evaluations_at(connection, study_id, [step]):
        scores[row.candidate].append(row.mean_iou)
    searched = [
        row
        for row in queries.candidates(connection, study_id)
        if row.origin in {Origin.RANDOM, Origin.BRED} and row.number in scores
    ]
    if len(searched) < _FEWEST:
        return None
    known = [features(Tree.from_dict(row.structure)) for row in searched]
    return shares(known, [fmean(scores[row.number]) for row in searched], step)


def features(tree: Tree) -> dict[tuple[str, str], Value]:
    """Return what a tree's modules are set to, down to its blocks, by module and setting."""
    return dict(_walk(tree.root, Inherited.defaults(), ()))


def shares(
    known: Sequence[Mapping[tuple[str, str], Value]], scores: Sequence[float], step: int
) -> Influences:
    """Return the settings that tell scores apart better than chance."""
    rng = np.random.default_rng(len(scores))
    own_C = np.asarray(scores, dtype=np.float64)
    dealt_DC = np.stack([own_C, *(rng.permutation(own_C) for _ in range(_DEALINGS))])
    names = sorted({name for one in known for name in one}, key=_depth)
    found: dict[tuple[str, str], tuple[Floats, str]] = {}
    alike: set[tuple[str, bytes]] = set()
    for name in names:
        groups = _groups([one.get(name) for one in known])
        if groups is None:
            continue
        group_C, labels = groups
        inherited = name[1], group_C.tobytes()
        if inherited not in alike:  # else it is what a module around it is set to
            alike.add(inherited)
            means = [own_C[group_C == number].mean() for number in range(len(labels))]
            found[name] = _omega_D(group_C, dealt_DC), labels[int(np.argmax(means))]
    highest_D = np.max([omega_D[1:] for omega_D, _ in found.values()], axis=0) if found else [0.0]
    chance = float(np.quantile(highest_D, 0.95))
    ranked = sorted(found.items(), key=lambda one: -one[1][0][0])
    top = max(float(ranked[0][1][0][0]), 1e-9) if ranked else 1.0
    lines = tuple(
        Influence(
            module=module,
            setting=setting.replace("_", " "),
            share=float(omega_D[0]),
            best=best,
            part=100 * float(omega_D[0]) / top,
        )
        for (module, setting), (omega_D, best) in ranked[:_SHOWN]
        if omega_D[0] > chance
    )
    return Influences(lines=lines, candidates=len(scores), step=step, chance=chance)


def _depth(name: tuple[str, str]) -> tuple[int, str, str]:
    """Return by what modules stand in their order: those around others first."""
    module, setting = name
    return (0 if module == _WHOLE else 1 + module.count(","), module, setting)


def _walk(
    node: Node, inherited: Inherited, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, str], Value]]:
    here = inherited.below(node.deltas)
    is_named = node.kind in _NAMED
    if is_named:
        accepted = find_kind(node.kind).accepts
        module = ", ".join(path[-2:]) or _WHOLE
        yield from (((module, name), here.values[name]) for name in sorted(accepted))
    seen: dict[str, int] = defaultdict(int)
    for child in node.children:
        seen[child.kind] += 1
        if child.kind in {"convolution", "forward", "down", "up", "residual", "merge"}:
            continue  # too fine: hardly two trees have them alike
        title = TITLES.get(child.kind, child.kind)
        name = f"{title} {seen[child.kind]}" if child.kind == "block" else title
        yield from _walk(child, here, (*path, name))


def _groups(values: Sequence[Any]) -> tuple[npt.NDArray[np.int64], list[str]] | None:
    """Return the group of each candidate and what each group is called; None where all are one.

    A candidate that lacks the module is in a group of its own.
    """
    if len(set(values)) < 2:
        return None
    numbers = [value for value in values if isinstance(value, int | float)]
    if len(set(numbers)) <= _GROUPS or len(numbers) < len([v for v in values if v is not None]):
        labels = sorted({str(value) if value is not None else "none" for value in values})
        place = {label: number for number, label in enumerate(labels)}
        named = [place[str(value) if value is not None else "none"] for value in values]
        return np.asarray(named), labels
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, _GROUPS + 1)))
    inner = edges[1:-1]
    found = [
        len(edges) - 1 if value is None else int(np.searchsorted(inner, value, side="right"))
        for value in values
    ]
    labels = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    labels += ["none"] if None in values else []
    kept = sorted(set(found))
    return np.asarray([kept.index(one) for one in found]), [labels[one] for one in kept]


def _omega_D(group_C: npt.NDArray[np.int64], dealt_DC: Floats) -> Floats:
    """Return omega squared of the groups for each dealing of the scores."""
    onehot_CG = np.eye(int(group_C.max()) + 1)[group_C]
    count_G = onehot_CG.sum(0)
    grand_D1 = dealt_DC.mean(1, keepdims=True)
    mean_DG = dealt_DC @ onehot_CG / count_G
    between_D = (count_G * (mean_DG - grand_D1) ** 2).sum(1)
    total_D = ((dealt_DC - grand_D1) ** 2).sum(1)
    freedom = len(count_G) - 1
    within_D = (total_D - between_D) / max(len(group_C) - len(count_G), 1)
    omega_D: Floats = (between_D - freedom * within_D) / np.maximum(total_D + within_D, 1e-12)
    return omega_D
