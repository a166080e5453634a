"""What an output voxel depends on: exact intervals, followed from the output back to the input.

Along one axis, an output interval (first, last) needs an input interval. Pooling makes it depend
on the voxel's place, so that the largest over all places counts.
"""

from collections.abc import Callable

from emsearch.trees.plan import Plan

__all__ = ["reach"]

Interval = tuple[int, int]


def reach(plan: Plan, axis: int, period: int) -> tuple[int, int]:
    """Return (extent, halo) of what one output voxel depends on along an axis, in voxels.

    The extent is the largest there is, the halo the farthest distance; places repeat with `period`.
    """
    extent = halo = 0
    for place in range(period):
        first, last = _back(plan, (place, place), axis)
        extent = max(extent, last - first + 1)
        halo = max(halo, place - first, last - place)
    return extent, halo


def _union(a: Interval, b: Interval) -> Interval:
    return min(a[0], b[0]), max(a[1], b[1])


def _back(plan: Plan, seen: Interval, axis: int) -> Interval:
    if plan.kind in _RULES:
        return _RULES[plan.kind](plan, seen, axis)
    for child in reversed(plan.children):
        seen = _back(child, seen, axis)
    return seen


def _convolution(plan: Plan, seen: Interval, axis: int) -> Interval:
    arm = plan.get("dilation_zyx")[axis] * (plan.get("kernel_zyx")[axis] // 2)
    return seen[0] - arm, seen[1] + arm


def _crf(plan: Plan, seen: Interval, axis: int) -> Interval:
    arm = plan.get("iterations") * plan.get("radius_zyx")[axis]
    return seen[0] - arm, seen[1] + arm


def _down(plan: Plan, seen: Interval, axis: int) -> Interval:
    factor = plan.get("factor_zyx")[axis]
    return seen[0] * factor, seen[1] * factor + factor - 1


def _up(plan: Plan, seen: Interval, axis: int) -> Interval:
    factor = plan.get("factor_zyx")[axis]
    arm = 1 if factor > 1 and plan.get("upsample") == "interpolated" else 0
    return (seen[0] - arm) // factor, (seen[1] + arm) // factor


def _encoder_decoder(plan: Plan, seen: Interval, axis: int) -> Interval:
    encoder, decoder = plan.children
    skipped = []
    for first in range(len(decoder.children) - 3, 0, -3):
        up, _, block = decoder.children[first : first + 3]
        seen = _back(block, seen, axis)
        skipped.append(seen)
        seen = _up(up, seen, axis)
    seen = _back(decoder.children[0], seen, axis)
    for block, edge in zip(encoder.children[-2::-2], encoder.children[::-2], strict=True):
        seen = _union(_back(edge, seen, axis), skipped.pop())
        seen = _back(block, seen, axis)
    return seen


def _paths(plan: Plan, seen: Interval, axis: int) -> Interval:
    first, *rest = plan.children
    step = 1 if plan.kind == "atrous_pyramid" else 3
    paths = [(first,), *(tuple(rest[i : i + step]) for i in range(0, len(rest), step))]
    needed = [_back(Plan("block", (), path), seen, axis) for path in paths]
    return min(first for first, _ in needed), max(last for _, last in needed)


_RULES: dict[str, Callable[[Plan, Interval, int], Interval]] = {
    "convolution": _convolution,
    "crf": _crf,
    "down": _down,
    "up": _up,
    "encoder_decoder": _encoder_decoder,
    "pyramid": _paths,
    "atrous_pyramid": _paths,
}
"""Other kinds hand on what their children need, one after another."""
