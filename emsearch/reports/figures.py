"""Charts as geometry: what a template needs to draw them as SVG, in its pixels.

Sizes are in the units of the chart's view box, which a browser scales to the page.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Chart", "Line", "Mark", "Point", "Series", "Span", "Tick", "curves", "scatter", "span"]

WIDTH, HEIGHT = 640.0, 330.0
_LEAST_EXTENT = 1e-6  # of its size: a narrower range counts as one value
LEFT, RIGHT, TOP, BOTTOM = 52.0, 14.0, 12.0, 44.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A value to draw, with the interval that it lies in where one is known."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    kind: str = "random"
    """Which colour and shape it has: random, baseline or tuned."""
    title: str = ""
    """What it says when pointed at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """A curve to draw, its points from left to right."""

    points: tuple[tuple[float, float], ...]
    kind: str
    title: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """A place on an axis and what is written there."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """A point as it is drawn."""

    x: float
    y: float
    low: float
    high: float
    kind: str
    title: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A curve as it is drawn: the points of an SVG polyline, and its end."""

    points: str
    x: float
    y: float
    kind: str
    title: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """An interval with its middle, as parts of 100 of the width that it is drawn on."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """All that a template draws."""

    label: str
    """What the chart shows, for those who do not see it."""
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...] = ()
    marks: tuple[Mark, ...] = ()
    front: str = ""
    """The points of a polyline along the best marks; empty for none."""
    rungs: tuple[Tick, ...] = ()
    """Places along x that stand out, each with what is written over it."""
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    top: float = TOP
    bottom: float = HEIGHT - BOTTOM


Scale = Callable[[float], float]


def curves(
    series: Sequence[Series],
    label: str,
    x_label: str = "training steps",
    y_label: str = "mean IoU, validation",
    rungs: Sequence[tuple[float, str]] = (),
) -> Chart:
    """Return a chart of scores over training steps, or what `x_label` says.

    At least one point is wanted. `rungs` are places along x that stand out, and what they are.
    """
    steps = [x for one in series for x, _ in one.points]
    scores = [y for one in series for _, y in one.points]
    x_ticks, place_x = _linear(0, max(steps), LEFT, WIDTH - RIGHT)
    y_ticks, place_y = _linear(min(scores), max(scores), HEIGHT - BOTTOM, TOP)
    lines = tuple(
        Line(
            points=" ".join(f"{place_x(x):.1f},{place_y(y):.1f}" for x, y in one.points),
            x=place_x(one.points[-1][0]),
            y=place_y(one.points[-1][1]),
            kind=one.kind,
            title=one.title,
        )
        for one in series
    )
    return Chart(
        label=label,
        x_label=x_label,
        y_label=y_label,
        x_ticks=x_ticks,
        y_ticks=y_ticks,
        lines=lines,
        rungs=tuple(Tick(at=place_x(x), text=text) for x, text in rungs),
    )


def scatter(
    points: Sequence[Point],
    x_label: str,
    y_label: str,
    label: str,
    front: Sequence[tuple[float, float]] = (),
) -> Chart:
    """Return a chart of points over a logarithmic x axis; at least one point is wanted.

    `front` are the best of the points from left to right; a line joins them in steps.
    """
    ends = [end for one in points for end in (one.low, one.high, one.y) if end is not None]
    x_ticks, place_x = _logarithmic([one.x for one in points], LEFT, WIDTH - RIGHT)
    y_ticks, place_y = _linear(min(ends), max(ends), HEIGHT - BOTTOM, TOP)
    marks = tuple(
        Mark(
            x=place_x(one.x),
            y=place_y(one.y),
            low=place_y(one.y if one.low is None else one.low),
            high=place_y(one.y if one.high is None else one.high),
            kind=one.kind,
            title=one.title,
        )
        for one in points
    )
    return Chart(
        label=label,
        x_label=x_label,
        y_label=y_label,
        x_ticks=x_ticks,
        y_ticks=y_ticks,
        marks=marks,
        front=_steps([(place_x(x), place_y(y)) for x, y in front], WIDTH - RIGHT),
    )


def _steps(places: Sequence[tuple[float, float]], end: float) -> str:
    """Return the points of a polyline that keeps its height until the next place and the end."""
    corners: list[tuple[float, float]] = []
    for x, y in places:
        if corners:
            corners.append((x, corners[-1][1]))
        corners.append((x, y))
    if corners:
        corners.append((end, corners[-1][1]))
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)


def span(low: float, middle: float, high: float, within: tuple[float, float]) -> Span:
    """Return where an interval lies between the two ends of `within`, in parts of 100."""
    first, last = within
    width = (last - first) or 1.0
    places = (100 * (value - first) / width for value in (low, middle, high))
    return Span(**dict(zip(("low", "middle", "high"), places, strict=True)))


def _linear(low: float, high: float, first: float, last: float) -> tuple[tuple[Tick, ...], Scale]:
    """Return ticks at round values around low to high, and the place of a value."""
    size = max(abs(low), abs(high), _LEAST_EXTENT)
    step = _round_step(high - low if high - low > _LEAST_EXTENT * size else size)
    start, stop = math.floor(low / step), math.ceil(high / step)
    stop = max(stop, start + 1)
    bottom, top = start * step, stop * step

    def place(value: float) -> float:
        return first + (value - bottom) / (top - bottom) * (last - first)

    decimals = max(0, -math.floor(math.log10(step)))
    values = (number * step for number in range(start, stop + 1))
    return tuple(Tick(at=place(value), text=f"{value:.{decimals}f}") for value in values), place


def _round_step(extent: float, about: int = 5) -> float:
    """Return 1, 2 or 5 times a power of ten, about a fifth of the extent."""
    power = 10.0 ** math.floor(math.log10(extent / about))
    return next(
        (factor * power for factor in (1, 2, 5) if factor * power * about >= extent), 10 * power
    )


def _logarithmic(
    values: Iterable[float], first: float, last: float
) -> tuple[tuple[Tick, ...], Scale]:
    """Return ticks at 1, 2 and 5 times powers of ten, and the place of a value above 0."""
    logs = [math.log10(max(value, 1e-12)) for value in values]
    margin = 0.04 * (max(logs) - min(logs)) or 0.1
    low, high = min(logs) - margin, max(logs) + margin

    def place(value: float) -> float:
        return first + (math.log10(max(value, 1e-12)) - low) / (high - low) * (last - first)

    powers = range(math.floor(low), math.ceil(high) + 1)
    factors = (1, 2, 5) if high - low < 3 else (1,)
    rounds = [factor * 10.0**power for power in powers for factor in factors]
    within = [value for value in rounds if low <= math.log10(value) <= high]
    return tuple(Tick(at=place(value), text=short(value)) for value in within), place


def short(value: float) -> str:
    """Return a number in few signs: 850, 1.2 k, 3.4 M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"
