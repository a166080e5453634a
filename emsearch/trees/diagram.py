"""Block diagrams: what a network makes of an image, plane after plane, as on the group's poster.

Planes are boxes whose height follows the resolution and whose width follows the channels, which
stand above them; sizes in voxels stand below. Sizes of the picture are in px.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import log2

from emsearch.trees.arithmetic import Target
from emsearch.trees.labels import times
from emsearch.trees.node import Tree
from emsearch.trees.plan import Plan
from emsearch.trees.svg import LETTER_PX, document, path, rectangle, text

__all__ = ["to_diagram"]

Zyx = tuple[int, int, int]
FULL_PX, LOWEST_PX, GAP_PX = 130.0, 10.0, 16.0
ARC_PX, MARGIN_PX = 9.0, 20.0
INK = {
    "image": "#ffffff",
    "convolution": "#cfdde6",
    "down": "#b7d3a8",
    "up": "#f0c48f",
    "merge": "#fbe3c0",
    "predictor": "#f2cc8f",
    "crf": "#e07a5f",
}
LINES = {"step": "#666666", "skip": "#3d5a80", "residual": "#c0392b"}


@dataclass(frozen=True, kw_only=True, slots=True)
class _At:
    """The plane that was drawn last."""

    x: float
    """Its right edge."""
    middle: float
    """Height of the row that it stands in."""
    channels: int
    size_zyx: Zyx


@dataclass(slots=True)
class _Canvas:
    """Shapes so far, and the room that they take."""

    target: Target
    shapes: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    left: float = 0
    top: float = 0
    right: float = 0
    bottom: float = 0

    def claim(self, x: float, y: float) -> None:
        self.left, self.top = min(self.left, x), min(self.top, y)
        self.right, self.bottom = max(self.right, x), max(self.bottom, y)

    def height(self, size_zyx: Zyx) -> float:
        return max(FULL_PX * size_zyx[1] / self.target.patch_zyx[1], LOWEST_PX)

    def ceiling(self, at: _At) -> float:
        """Return the height above a plane and its number."""
        return at.middle - self.height(at.size_zyx) / 2 - 14

    def plane(self, kind: str, at: _At, channels: int, size_zyx: Zyx | None = None) -> _At:
        """Draw a plane to the right of `at`, joined to it by an arrow."""
        size = size_zyx or at.size_zyx
        label = str(channels)
        width, height = 4 + 2.5 * log2(channels + 1), self.height(size)
        room = max(width, len(label) * LETTER_PX)
        x = at.x + GAP_PX + (room - width) / 2
        y = at.middle - height / 2
        self.arrow(f"M{at.x + 1:.1f} {at.middle:.1f}H{x - 2:.1f}")
        self.shapes.append(rectangle(x, y, width, height, INK[kind]))
        centre = x + width / 2
        self.shapes.append(text(centre, y - 4, label, 'text-anchor="middle" fill="#222"'))
        if size != at.size_zyx or kind == "image":
            self._size(centre, y + height, size)
        self.used.add(kind)
        self.claim(x + max(width, room), y - 16)
        self.claim(x, y + height + 4)
        return _At(x=x + width, middle=at.middle, channels=channels, size_zyx=size)

    def _size(self, x: float, y: float, size_zyx: Zyx) -> None:
        words = times(size_zyx)
        turned = f'transform="rotate(90 {x - 4:.1f} {y + 5:.1f})" fill="#555"'
        self.shapes.append(text(x - 4, y + 5, words, turned))
        self.claim(x, y + 10 + len(words) * LETTER_PX)

    def arrow(self, steps: str, kind: str = "step") -> None:
        self.used.add(kind)
        self.shapes.append(path(steps, LINES[kind], f'marker-end="url(#{kind})"'))

    def arc(self, start: _At, end: _At, ceiling: float, kind: str) -> None:
        """Draw an arrow from plane to plane, over `ceiling`."""
        self.claim(start.x, ceiling - 4)
        first, last = start.x - 3, end.x - 5
        down = self.ceiling(end) + 1
        steps = f"M{first:.1f} {self.ceiling(start) + 1:.1f}V{ceiling:.1f}H{last:.1f}V{down:.1f}"
        self.arrow(steps, kind)


def to_diagram(tree: Tree, target: Target) -> str:
    """Return the block diagram of a tree for a target as an SVG document."""
    plan = tree.plan()
    canvas = _Canvas(target)
    start = _At(x=0, middle=0, channels=target.channels, size_zyx=target.patch_zyx)
    image = canvas.plane("image", start, target.channels)
    _part(plan, image, canvas)
    _legend(canvas)
    frame = (canvas.left - MARGIN_PX, canvas.top - MARGIN_PX)
    ends = (canvas.right + MARGIN_PX, canvas.bottom + MARGIN_PX)
    return document((*frame, *ends), [_markers(), *canvas.shapes])


def _part(plan: Plan, at: _At, canvas: _Canvas) -> _At:
    return _PARTS.get(plan.kind, _chain)(plan, at, canvas)


def _chain(plan: Plan, at: _At, canvas: _Canvas) -> _At:
    for child in plan.children:
        at = _part(child, at, canvas)
    return at


def _forward(_plan: Plan, at: _At, _canvas: _Canvas) -> _At:
    return at


def _convolution(plan: Plan, at: _At, canvas: _Canvas) -> _At:
    return canvas.plane("convolution", at, plan.get("width"))


def _predictor(_plan: Plan, at: _At, canvas: _Canvas) -> _At:
    return canvas.plane("predictor", at, canvas.target.classes)


def _crf(_plan: Plan, at: _At, canvas: _Canvas) -> _At:
    return canvas.plane("crf", at, canvas.target.classes)


def _block(plan: Plan, at: _At, canvas: _Canvas) -> _At:
    last = plan.children[-1].kind
    if last == "merge":
        return _dense(plan, at, canvas)
    end = _chain(plan, at, canvas)
    if last == "residual":
        canvas.arc(at, end, min(canvas.ceiling(at), canvas.ceiling(end)) - 6, "residual")
    return end


def _dense(plan: Plan, at: _At, canvas: _Canvas) -> _At:
    total, here = 0, at
    for child in plan.children[::2]:
        here = _part(child, here, canvas)
        total += here.channels
        canvas.arc(at, here, min(canvas.ceiling(at), canvas.ceiling(here)) - 6, "skip")
    return canvas.plane("merge", here, total)


def _scaled(size_zyx: Zyx, factor_zyx: Zyx, *, is_up: bool) -> Zyx:
    pairs = zip(size_zyx, factor_zyx, strict=True)
    z, y, x = (size * step if is_up else size // step for size, step in pairs)
    return z, y, x


def _down(plan: Plan, at: _At, canvas: _Canvas) -> _At:
    size = _scaled(at.size_zyx, plan.get("factor_zyx"), is_up=False)
    return canvas.plane("down", at, at.channels, size)


def _up(plan: Plan, at: _At, canvas: _Canvas) -> _At:
    at = _chain(plan, at, canvas)
    size = _scaled(at.size_zyx, plan.get("factor_zyx"), is_up=True)
    return canvas.plane("up", at, plan.get("width"), size)


def _encoder_decoder(plan: Plan, at: _At, canvas: _Canvas) -> _At:
    encoder, decoder = plan.children
    kept: list[_At] = []
    for block, edge in zip(encoder.children[::2], encoder.children[1::2], strict=True):
        at = _part(block, at, canvas)
        kept.append(at)
        at = _part(edge, at, canvas)
    at = _part(decoder.children[0], at, canvas)
    for first in range(1, len(decoder.children), 3):
        up, skip, block = decoder.children[first : first + 3]
        other = kept.pop()
        at = _part(up, at, canvas)
        ceiling = canvas.ceiling(other) - 12 - ARC_PX * (len(kept) == 0)
        if skip.kind == "merge":
            at = canvas.plane("merge", at, at.channels + other.channels)
        canvas.arc(other, at, ceiling, "skip" if skip.kind == "merge" else "residual")
        at = _part(block, at, canvas)
    return at


def _pyramid(plan: Plan, at: _At, canvas: _Canvas) -> _At:
    rest = plan.children[1:]
    step = 3 if plan.kind == "pyramid" else 1
    paths = [plan.children[:1], *(rest[i : i + step] for i in range(0, len(rest), step))]
    if len(paths) == 1:
        return _part(plan.children[0], at, canvas)
    ends: list[_At] = []
    middle = at.middle
    for parts in paths:
        start = replace(at, middle=middle, x=at.x + GAP_PX)
        canvas.shapes.append(path(f"M{at.x:.1f} {at.middle:.1f}H{at.x + 8:.1f}V{middle:.1f}h8"))
        end = start
        for part in parts:
            end = _part(part, end, canvas)
        ends.append(end)
        middle += FULL_PX + 90
    return _joined(plan, ends, canvas)


def _joined(plan: Plan, ends: list[_At], canvas: _Canvas) -> _At:
    """Draw the plane in which a pyramid's paths meet."""
    first, *others = ends
    x = max(end.x for end in ends) + 12
    for end in others:
        low = f"M{end.x:.1f} {end.middle:.1f}H{x:.1f}V{first.middle:.1f}"
        canvas.shapes.append(path(low, LINES["skip"]))
    canvas.shapes.append(path(f"M{first.x:.1f} {first.middle:.1f}H{x:.1f}"))
    is_merge = plan.get("combine") == "merge"
    channels = sum(end.channels for end in ends) if is_merge else first.channels
    return canvas.plane("merge", replace(first, x=x), channels)


def _hybrid(plan: Plan, at: _At, canvas: _Canvas) -> _At:
    planar, edge, volumetric = plan.children
    image = at
    features = _part(planar.children[0], at, canvas)
    end = features
    for child in planar.children[1:]:
        end = _part(child, end, canvas)
    widths = {"maps": end.channels, "features": features.channels, "image": image.channels}
    carried = edge.get("carries").split("+")
    merged = canvas.plane("merge", end, sum(widths[name] for name in carried))
    for name, source in (("features", features), ("image", image)):
        if name in carried:
            ceiling = canvas.top - (2 if name == "features" else ARC_PX)
            canvas.arc(source, merged, ceiling, "skip")
    last = _part(volumetric, merged, canvas)
    if volumetric.children[-1].kind == "crf":
        canvas.arc(image, last, canvas.top - ARC_PX, "skip")
    return last


_PARTS: dict[str, Callable[[Plan, _At, _Canvas], _At]] = {
    "hybrid": _hybrid,
    "encoder_decoder": _encoder_decoder,
    "pyramid": _pyramid,
    "atrous_pyramid": _pyramid,
    "mixed_block": _block,
    "block": _block,
    "convolution": _convolution,
    "predictor": _predictor,
    "crf": _crf,
    "forward": _forward,
    "residual": _forward,
    "down": _down,
    "up": _up,
}

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
}


def _legend(canvas: _Canvas) -> None:
    x, y = canvas.left + 4, canvas.bottom + 30
    for kind, meaning in _MEANINGS.items():
        if kind not in canvas.used:
            continue
        if kind in INK:
            canvas.shapes.append(rectangle(x, y - 10, 12, 12, INK[kind]))
        else:
            canvas.shapes.append(path(f"M{x:.1f} {y - 4:.1f}h12", LINES[kind]))
        canvas.shapes.append(text(x + 17, y, meaning))
        x += 34 + len(meaning) * LETTER_PX
        canvas.claim(x, y + 4)


def _markers() -> str:
    heads = (
        f'<marker id="{kind}" viewBox="0 0 6 6" refX="5" refY="3" markerWidth="6"'
        f' markerHeight="6" orient="auto"><path d="M0 0L6 3L0 6z" fill="{colour}"/></marker>'
        for kind, colour in LINES.items()
    )
    return f"<defs>{''.join(heads)}</defs>"
