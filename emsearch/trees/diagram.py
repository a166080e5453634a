"""Block diagrams: what a network makes of an image, plane after plane, as on the group's poster.

Planes are boxes whose height follows the resolution and whose width follows the channels, which
stand above them; sizes in voxels stand below. Sizes of the picture are in px.
"""

from collections.abc import Callable
from dataclasses import replace

from emsearch.trees.arithmetic import Target
from emsearch.trees.canvas import ARC_PX, FULL_PX, GAP_PX, At, Canvas
from emsearch.trees.node import Tree
from emsearch.trees.plan import Plan

__all__ = ["to_diagram"]

Zyx = tuple[int, int, int]


def to_diagram(tree: Tree, target: Target) -> str:
    """Return the block diagram of a tree for a target as an SVG document."""
    plan = tree.plan()
    canvas = Canvas(target)
    start = At(x=0, middle=0, channels=target.channels, size_zyx=target.patch_zyx)
    image = canvas.plane("image", start, target.channels)
    _part(plan, image, canvas)
    return canvas.document()


def _part(plan: Plan, at: At, canvas: Canvas) -> At:
    return _PARTS.get(plan.kind, _chain)(plan, at, canvas)


def _chain(plan: Plan, at: At, canvas: Canvas) -> At:
    for child in plan.children:
        at = _part(child, at, canvas)
    return at


def _forward(_plan: Plan, at: At, _canvas: Canvas) -> At:
    return at


def _convolution(plan: Plan, at: At, canvas: Canvas) -> At:
    return canvas.plane("convolution", at, plan.get("width"))


def _predictor(_plan: Plan, at: At, canvas: Canvas) -> At:
    return canvas.plane("predictor", at, canvas.target.classes)


def _crf(_plan: Plan, at: At, canvas: Canvas) -> At:
    return canvas.plane("crf", at, canvas.target.classes)


def _block(plan: Plan, at: At, canvas: Canvas) -> At:
    last = plan.children[-1].kind
    if last == "merge":
        return _dense(plan, at, canvas)
    end = _chain(plan, at, canvas)
    if last == "residual":
        canvas.arc(at, end, min(canvas.ceiling(at), canvas.ceiling(end)) - 6, "residual")
    return end


def _dense(plan: Plan, at: At, canvas: Canvas) -> At:
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


def _down(plan: Plan, at: At, canvas: Canvas) -> At:
    size = _scaled(at.size_zyx, plan.get("factor_zyx"), is_up=False)
    return canvas.plane("down", at, at.channels, size)


def _up(plan: Plan, at: At, canvas: Canvas) -> At:
    at = _chain(plan, at, canvas)
    size = _scaled(at.size_zyx, plan.get("factor_zyx"), is_up=True)
    return canvas.plane("up", at, plan.get("width"), size)


def _encoder_decoder(plan: Plan, at: At, canvas: Canvas) -> At:
    encoder, decoder = plan.children
    kept: list[At] = []
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


def _pyramid(plan: Plan, at: At, canvas: Canvas) -> At:
    rest = plan.children[1:]
    step = 3 if plan.kind == "pyramid" else 1
    paths = [plan.children[:1], *(rest[i : i + step] for i in range(0, len(rest), step))]
    if len(paths) == 1:
        return _part(plan.children[0], at, canvas)
    ends: list[At] = []
    middle = at.middle
    for parts in paths:
        start = replace(at, middle=middle, x=at.x + GAP_PX)
        canvas.line(f"M{at.x:.1f} {at.middle:.1f}H{at.x + 8:.1f}V{middle:.1f}h8", "step")
        end = start
        for part in parts:
            end = _part(part, end, canvas)
        ends.append(end)
        middle += FULL_PX + 90
    return _joined(plan, ends, canvas)


def _joined(plan: Plan, ends: list[At], canvas: Canvas) -> At:
    """Draw the plane in which a pyramid's paths meet."""
    first, *others = ends
    x = max(end.x for end in ends) + 12
    is_merge = plan.get("combine") == "merge"
    for end in others:
        canvas.line(
            f"M{end.x:.1f} {end.middle:.1f}H{x:.1f}V{first.middle:.1f}",
            "skip" if is_merge else "residual",
        )
    canvas.line(f"M{first.x:.1f} {first.middle:.1f}H{x:.1f}", "step")
    channels = sum(end.channels for end in ends) if is_merge else first.channels
    return canvas.plane("merge", replace(first, x=x), channels)


def _network(plan: Plan, at: At, canvas: Canvas) -> At:
    return _stage(plan, at, canvas)[-1]


def _stage(plan: Plan, at: At, canvas: Canvas) -> list[At]:
    """Draw a network and return the planes that its parts end with.

    Braces stand around one that takes sections one by one, with how many there are.
    """
    is_braced = plan.get("dimensions") == 2 and at.size_zyx[0] > 1
    here = canvas.opened(at) if is_braced else at
    ends = []
    for child in plan.children:
        here = _part(child, here, canvas)
        ends.append(here)
    return canvas.closed(at, here, ends) if is_braced else ends


def _hybrid(plan: Plan, at: At, canvas: Canvas) -> At:
    planar, edge, volumetric = plan.children
    image = at
    features, *_, end = _stage(planar, at, canvas)
    widths = {"maps": end.channels, "features": features.channels, "image": image.channels}
    carried = edge.get("carries").split("+")
    merged = canvas.plane("merge", end, sum(widths[name] for name in carried))
    for name, source in (("features", features), ("image", image)):
        if name in carried:
            ceiling = canvas.top - (2 if name == "features" else ARC_PX)
            canvas.arc(source, merged, ceiling, "skip")
    last = _part(volumetric, merged, canvas)
    if volumetric.children[-1].kind == "crf":
        canvas.arc(image, last, canvas.top - ARC_PX, "guide")
    return last


_PARTS: dict[str, Callable[[Plan, At, Canvas], At]] = {
    "hybrid": _hybrid,
    "network": _network,
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
