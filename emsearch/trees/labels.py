"""What a module is called and set to, in the words of pictures and text trees."""

from collections.abc import Callable

from emsearch.trees.arithmetic import Facts
from emsearch.trees.plan import Plan, width_of

__all__ = ["TITLES", "details", "facts_lines", "first_width", "times"]

TITLES = {
    "hybrid": "hybrid 2-D–3-D",
    "network": "network",
    "encoder_decoder": "encoder-decoder",
    "encoder": "encode path",
    "decoder": "decode path",
    "pyramid": "spatial pyramid",
    "atrous_pyramid": "atrous pyramid",
    "dilated_block": "dilated block",
    "mixed_block": "mixed block",
    "block": "block",
    "convolution": "convolution",
    "predictor": "predictor",
    "crf": "CRF-RNN",
    "forward": "forward",
    "residual": "residual (+)",
    "merge": "merge (concat)",
    "down": "down",
    "up": "up",
}
"""Names of kinds for readers."""


def details(plan: Plan) -> list[str]:
    """Return lines that say what a module is set to."""
    if plan.kind in _DETAILS:
        return _DETAILS[plan.kind](plan)
    return [f"{name} {value}" for name, value in plan.settings]


def _convolution(plan: Plan) -> list[str]:
    (_, width), (_, kernel_zyx), (_, dilation_zyx), (_, norm), (_, activation) = plan.settings
    lines = [f"{width} × {times(kernel_zyx)}"]
    if dilation_zyx != (1, 1, 1):
        lines.append(f"dilated {max(dilation_zyx)}")
    parts = [part for part in (norm, activation) if part not in {"none", "identity"}]
    return [*lines, " · ".join(parts)] if parts else lines


def _up(plan: Plan) -> list[str]:
    how = f"{plan.get('upsample')} {times(plan.get('factor_zyx'))}"
    return [how, f"width {plan.get('width')}"]


def _down(plan: Plan) -> list[str]:
    return [f"{plan.get('pool')} {times(plan.get('factor_zyx'))}"]


def _block(plan: Plan) -> list[str]:
    forms = {"residual": "residual", "merge": "dense"}
    return [forms.get(plan.children[-1].kind, "plain")]


def _crf(plan: Plan) -> list[str]:
    z, y, x = (2 * radius + 1 for radius in plan.get("radius_zyx"))
    return [f"{plan.get('iterations')} iterations", f"window {times((z, y, x))}"]


_DETAILS: dict[str, Callable[[Plan], list[str]]] = {
    "convolution": _convolution,
    "up": _up,
    "down": _down,
    "network": lambda plan: [f"{plan.get('dimensions')}-D"],
    "block": _block,
    "mixed_block": _block,
    "residual": lambda plan: [plan.get("activation")],
    "crf": _crf,
}


def times(size_zyx: tuple[int, int, int]) -> str:
    """Return a size as people write it, such as 1×3×3."""
    return "×".join(str(size) for size in size_zyx)


def first_width(plan: Plan) -> int:
    """Return the channels of the first block, 0 without one."""
    if plan.kind in {"block", "mixed_block"}:
        return width_of(plan)
    return next((width for child in plan.children if (width := first_width(child))), 0)


def facts_lines(plan: Plan, facts: Facts) -> list[str]:
    """Return what the root box says of a network."""
    return [
        f"{facts.parameters:,} parameters",
        f"{facts.layers} layers",
        f"input {times(facts.output_zyx)}",
        f"width {first_width(plan)}",
        f"sees {'the whole tile' if facts.sees_whole_tile else times(facts.receptive_field_zyx)}",
    ]
