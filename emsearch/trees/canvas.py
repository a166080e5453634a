"""The canvas of block diagrams: planes, arrows, arcs and braces, and the room that they take.

Sizes of the picture are in px.
"""

from dataclasses import dataclass, field, replace
from math import log2

from emsearch.trees.arithmetic import Target
from emsearch.trees.labels import times
from emsearch.trees.svg import document, path, rectangle, room, text

__all__ = ["ARC_PX", "FULL_PX", "GAP_PX", "At", "Canvas"]

Zyx = tuple[int, int, int]
FULL_PX, LOWEST_PX, GAP_PX = 130.0, 10.0, 16.0
ARC_PX, MARGIN_PX, BRACE_PX = 9.0, 20.0, 7.0
INK = {
    "image": "#ffffff",
    "convolution": "#cfdde6",
    "down": "#b7d3a8",
    "up": "#f0c48f",
    "merge": "#fbe3c0",
    "predictor": "#f2cc8f",
    "crf": "#e07a5f",
}
LINES = {"step": "#666666", "skip": "#3d5a80", "residual": "#c0392b", "guide": "#8a6bb1"}
_MEANINGS = {
    "image": "image",
    "convolution": "convolution",
    "down": "resolution lowered",
    "up": "resolution raised",
    "merge": "joined",
    "predictor": "class maps",
    "crf": "refined by CRF-RNN",
    "skip": "concatenated",
    "residual": "added",
    "guide": "compared",
}
"""What the legend says of planes and lines."""


@dataclass(frozen=True, kw_only=True, slots=True)
class At:
    """The plane that was drawn last."""

    x: float
    """Its right edge."""
    middle: float
    """Height of the row that it stands in."""
    channels: int
    size_zyx: Zyx


@dataclass(slots=True)
class Canvas:
    """Shapes so far, and the room that they take."""

    target: Target
    shapes: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    left: float = 0
    top: float = 0
    right: float = 0
    bottom: float = 0

    def claim(self, x: float, y: float) -> None:
        """Widen the picture so that it holds this point."""
        self.left, self.top = min(self.left, x), min(self.top, y)
        self.right, self.bottom = max(self.right, x), max(self.bottom, y)

    def height(self, size_zyx: Zyx) -> float:
        """Return the height of a plane of this resolution."""
        return max(FULL_PX * size_zyx[1] / self.target.patch_zyx[1], LOWEST_PX)

    def ceiling(self, at: At) -> float:
        """Return the height above a plane and its number."""
        return at.middle - self.height(at.size_zyx) / 2 - 14

    def plane(self, kind: str, at: At, channels: int, size_zyx: Zyx | None = None) -> At:
        """Draw a plane to the right of `at`, joined to it by an arrow."""
        size = size_zyx or at.size_zyx
        label = str(channels)
        width, height = 4 + 2.5 * log2(channels + 1), self.height(size)
        place = max(width, room(label))
        x = at.x + GAP_PX + (place - width) / 2
        y = at.middle - height / 2
        self.arrow(f"M{at.x + 1:.1f} {at.middle:.1f}H{x - 2:.1f}")
        self.shapes.append(rectangle(x, y, width, height, INK[kind]))
        centre = x + width / 2
        self.shapes.append(text(centre, y - 4, label, 'text-anchor="middle" fill="#222"'))
        if size != at.size_zyx or kind == "image":
            self._size(centre, y + height, size)
        self.used.add(kind)
        self.claim(x + (width + place) / 2, y - 16)
        self.claim(x, y + height + 4)
        return At(x=x + width, middle=at.middle, channels=channels, size_zyx=size)

    def _size(self, x: float, y: float, size_zyx: Zyx) -> None:
        words = times(size_zyx)
        turned = f'transform="rotate(90 {x - 4:.1f} {y + 5:.1f})" fill="#555"'
        self.shapes.append(text(x - 4, y + 5, words, turned))
        self.claim(x, y + 10 + room(words))

    def line(self, steps: str, kind: str) -> None:
        """Draw a line without a head."""
        self.used.add(kind)
        self.shapes.append(path(steps, LINES[kind]))

    def arrow(self, steps: str, kind: str = "step") -> None:
        """Draw a line that ends in a head."""
        self.used.add(kind)
        self.shapes.append(path(steps, LINES[kind], f'marker-end="url(#{kind})"'))

    def opened(self, at: At) -> At:
        """Leave room for the brace in front of what takes one section at a time."""
        x = at.x + GAP_PX + 2 * BRACE_PX
        self.line(f"M{at.x + 1:.1f} {at.middle:.1f}H{at.x + GAP_PX:.1f}", "step")
        return replace(at, x=x, size_zyx=(1, *at.size_zyx[1:]))

    def closed(self, at: At, last: At, ends: list[At]) -> list[At]:
        """Draw both braces around what stands between `at` and now; return its planes, stacked."""
        depth, x = at.size_zyx[0], last.x + 6
        top, bottom = self.top, self.bottom
        for first, side in ((at.x + GAP_PX + 2 * BRACE_PX, -1), (x, 1)):
            self.shapes.append(path(_brace(first, (top, at.middle, bottom), side), LINES["step"]))
        words = f"×{depth}"
        self.shapes.append(text(x + 2 * BRACE_PX, bottom, words, 'fill="#222" font-size="16"'))
        self.claim(x + 2 * BRACE_PX + 1.5 * room(words), bottom + 4)
        stacked = [replace(end, size_zyx=(depth, *end.size_zyx[1:])) for end in ends]
        return [*stacked[:-1], replace(stacked[-1], x=x + 2 * BRACE_PX)]

    def arc(self, start: At, end: At, ceiling: float, kind: str) -> None:
        """Draw an arrow from plane to plane, over `ceiling`."""
        self.claim(start.x, ceiling - 4)
        first, last = start.x - 3, end.x - 5
        down = self.ceiling(end) - 1
        steps = f"M{first:.1f} {self.ceiling(start) + 1:.1f}V{ceiling:.1f}H{last:.1f}V{down:.1f}"
        self.arrow(steps, kind)

    def document(self) -> str:
        """Return what was drawn, with a legend below, as an SVG document."""
        self._legend()
        frame = (self.left - MARGIN_PX, self.top - MARGIN_PX)
        ends = (self.right + MARGIN_PX, self.bottom + MARGIN_PX)
        return document((*frame, *ends), [_markers(), *self.shapes])

    def _legend(self) -> None:
        x, y = self.left + 4, self.bottom + 30
        for kind, meaning in _MEANINGS.items():
            if kind not in self.used:
                continue
            if kind in INK:
                self.shapes.append(rectangle(x, y - 10, 12, 12, INK[kind]))
            else:
                self.shapes.append(path(f"M{x:.1f} {y - 4:.1f}h12", LINES[kind]))
            self.shapes.append(text(x + 17, y, meaning))
            x += 34 + room(meaning)
            self.claim(x, y + 4)


def _brace(x: float, heights: tuple[float, float, float], side: int) -> str:
    """Return a curly brace whose tip points left (-1) or right (1) at the middle height."""
    top, middle, bottom = heights
    out, r = x + side * BRACE_PX, BRACE_PX
    return (
        f"M{x:.1f} {top:.1f}Q{out:.1f} {top:.1f} {out:.1f} {top + r:.1f}V{middle - r:.1f}"
        f"Q{out:.1f} {middle:.1f} {out + side * r:.1f} {middle:.1f}"
        f"Q{out:.1f} {middle:.1f} {out:.1f} {middle + r:.1f}V{bottom - r:.1f}"
        f"Q{out:.1f} {bottom:.1f} {x:.1f} {bottom:.1f}"
    )


def _markers() -> str:
    heads = (
        f'<marker id="{kind}" viewBox="0 0 6 6" refX="5" refY="3" markerWidth="6"'
        f' markerHeight="6" orient="auto"><path d="M0 0L6 3L0 6z" fill="{colour}"/></marker>'
        for kind, colour in LINES.items()
    )
    return f"<defs>{''.join(heads)}</defs>"
