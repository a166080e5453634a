"""Pictures of trees: text for terminals, SVG in the manner of the group's poster of 2019."""

from emsearch.trees.arithmetic import Facts
from emsearch.trees.boxes import LINE_PX, PAD_PX, Box, links
from emsearch.trees.labels import TITLES, details, facts_lines
from emsearch.trees.node import Tree
from emsearch.trees.plan import Plan
from emsearch.trees.svg import document, rectangle, text

__all__ = ["COLOURS", "to_svg", "to_text"]

COLOURS = {
    "hybrid": "#3d5a80",
    "network": "#3d5a80",
    "encoder_decoder": "#5b7db1",
    "encoder": "#7fb069",
    "decoder": "#e6aa68",
    "pyramid": "#9d79bc",
    "atrous_pyramid": "#b892d6",
    "dilated_block": "#4fa3a5",
    "mixed_block": "#5fb49c",
    "block": "#8fc0a9",
    "convolution": "#dfe7ec",
    "predictor": "#f2cc8f",
    "crf": "#e07a5f",
    "forward": "#f4f4f2",
    "residual": "#f7d6d0",
    "merge": "#fbe3c0",
    "down": "#d3e4cd",
    "up": "#f6dfc6",
}
_DARK = frozenset({"hybrid", "network", "encoder_decoder"})

MARGIN_PX = 16


def to_text(tree: Tree) -> str:
    """Return the effective tree as indented text, a line a module."""
    plan = tree.plan()
    head = f"{tree.family} {tree.digest()}"
    return "\n".join([head, *_text_lines(plan, "", is_last=True)])


def _text_lines(plan: Plan, prefix: str, *, is_last: bool) -> list[str]:
    said = ", ".join(details(plan))
    lines = [
        f"{prefix}{'└─ ' if is_last else '├─ '}{TITLES[plan.kind]}{': ' + said if said else ''}"
    ]
    inner = prefix + ("   " if is_last else "│  ")
    for place, child in enumerate(plan.children):
        lines += _text_lines(child, inner, is_last=place == len(plan.children) - 1)
    return lines


def to_svg(tree: Tree, facts: Facts | None) -> str:
    """Return a node-link picture of the effective tree, from the root down, as an SVG document.

    Boxes are coloured by kind and say what they are set to; with `facts`, the root says them.
    """
    plan = tree.plan()
    root = _box(plan)
    root.title = f"{tree.family} {tree.digest()}"
    root.lines = [TITLES[plan.kind], *root.lines, *(facts_lines(plan, facts) if facts else [])]
    root.place(MARGIN_PX, MARGIN_PX)
    boxes = root.all()
    right = max(box.x + box.width for box in boxes) + MARGIN_PX
    bottom = max(box.y + box.height for box in boxes) + MARGIN_PX
    shapes = [*links(root), *(shape for box in boxes for shape in _shapes(box))]
    return document((0, 0, right, bottom), shapes)


def _box(plan: Plan) -> Box:
    children = [_box(child) for child in plan.children]
    return Box(plan.kind, TITLES[plan.kind], details(plan), children)


def _shapes(box: Box) -> list[str]:
    ink = "white" if box.kind in _DARK else "#222"
    shapes = [rectangle(box.x, box.y, box.width, box.height, COLOURS[box.kind])]
    for number, words in enumerate((box.title, *box.lines)):
        weight = ' font-weight="bold"' if number == 0 else ""
        y = box.y + (number + 1) * LINE_PX
        shapes.append(text(box.x + PAD_PX, y, words, f'fill="{ink}"{weight}'))
    return shapes
