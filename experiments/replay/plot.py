"""The picture of a replay: best score, top-4 mean and regret against trainings spent, as SVG."""

import math
from collections.abc import Sequence
from typing import Any

__all__ = ["draw"]

_WIDE, _HIGH = 300, 210
_LEFT, _TOP, _GAP = 56, 46, 74
_COLOURS = ("#0b6e4f", "#8d99ae", "#d1495b", "#edae49", "#30638e", "#6d597a")
_MEASURES = (("best", "best score"), ("top4", "mean of the top 4"), ("regret", "regret"))


def draw(rows: Sequence[Any]) -> str:
    """Return the picture: a line of three panels for each table, bars of two standard errors."""
    tables = list(dict.fromkeys(row.table for row in rows))
    policies = list(dict.fromkeys(row.policy for row in rows))
    width = _LEFT + 3 * (_WIDE + _GAP)
    height = _TOP + len(tables) * (_HIGH + _GAP + 10) + 6
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'font-family="sans-serif" font-size="12" fill="#222">'
        ),
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        *_legend(policies),
    ]
    for line, table in enumerate(tables):
        top = _TOP + line * (_HIGH + _GAP + 10) + 24
        parts.append(f'<text x="{_LEFT}" y="{top - 10}" font-weight="bold">{table}</text>')
        own = [row for row in rows if row.table == table]
        for place, (measure, title) in enumerate(_MEASURES):
            parts += _panel(own, policies, measure, title, (_LEFT + place * (_WIDE + _GAP), top))
    return "\n".join([*parts, "</svg>\n"])


def _legend(policies: Sequence[str]) -> list[str]:
    parts = []
    for place, policy in enumerate(policies):
        x, colour = _LEFT + 130 * place, _COLOURS[place % len(_COLOURS)]
        parts.append(f'<path d="M{x} 18h22" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="{x + 28}" y="22">{policy}</text>')
    return parts


def _panel(
    rows: Sequence[Any], policies: Sequence[str], measure: str, title: str, at: tuple[int, int]
) -> list[str]:
    left, top = at
    spread = [
        getattr(row, measure) + side * getattr(row, f"{measure}_se")
        for row in rows
        for side in (-2, 2)
    ]
    low, high = (0.0 if measure == "regret" else min(spread)), max(spread)
    steps = sorted({row.trainings for row in rows})
    first, last = math.log(steps[0]), math.log(max(steps[-1], steps[0] + 1))

    def x(trainings: int) -> float:
        return left + 14 + (_WIDE - 28) * (math.log(trainings) - first) / (last - first)

    def y(value: float) -> float:
        return float(top + _HIGH - 8 - (_HIGH - 16) * (value - low) / max(high - low, 1e-9))

    parts = _frame((left, top), title, [(x(step), step) for step in steps], _ticks(low, high, y))
    for place, policy in enumerate(policies):
        own = sorted((row for row in rows if row.policy == policy), key=lambda row: row.trainings)
        colour = _COLOURS[place % len(_COLOURS)]
        line = " ".join(f"{x(row.trainings):.1f},{y(getattr(row, measure)):.1f}" for row in own)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for row in own:
            value, error = getattr(row, measure), 2 * getattr(row, f"{measure}_se")
            bar = f"M{x(row.trainings):.1f} {y(value - error):.1f}V{y(value + error):.1f}"
            parts.append(f'<path d="{bar}" stroke="{colour}" stroke-width="5" opacity="0.5"/>')
    return parts


def _frame(
    at: tuple[int, int],
    title: str,
    steps: Sequence[tuple[float, int]],
    ticks: Sequence[tuple[float, str]],
) -> list[str]:
    left, top = at
    bottom = top + _HIGH
    parts = [
        f'<rect x="{left}" y="{top}" width="{_WIDE}" height="{_HIGH}" fill="none" stroke="#ccc"/>',
        (
            f'<text x="{left + _WIDE / 2}" y="{bottom + 36}" text-anchor="middle" fill="#555">'
            f"{title}, by trainings</text>"
        ),
    ]
    for place, step in steps:
        parts.append(f'<text x="{place:.1f}" y="{bottom + 16}" text-anchor="middle">{step}</text>')
    for place, label in ticks:
        parts.append(f'<path d="M{left} {place:.1f}h{_WIDE}" stroke="#eee"/>')
        parts.append(f'<text x="{left - 6}" y="{place + 4:.1f}" text-anchor="end">{label}</text>')
    return parts


def _ticks(low: float, high: float, y: object) -> list[tuple[float, str]]:
    assert callable(y)
    step = 10 ** math.floor(math.log10(max(high - low, 1e-9)))
    for finer in (1, 0.5, 0.2):
        if (high - low) / (step * finer) >= 3:
            step *= finer
            break
    first = math.ceil(low / step)
    digits = max(-math.floor(math.log10(step) + 1e-9), 0)  # as many as tell two of them apart
    last = math.floor(high / step)
    return [(y(n * step), f"{n * step:.{digits}f}") for n in range(first, last + 1)]
