"""Pictures of trees: text for terminals, SVG in the manner of the group's poster of 2019."""

from dataclasses import dataclass

from emsearch.trees.arithmetic import Facts
from emsearch.trees.effective import Plan
from emsearch.trees.labels import TITLES, details, facts_lines
from emsearch.trees.node import Tree
from emsearch.trees.svg import LETTER_PX, document, path, rectangle, text

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

LINE_PX, PAD_PX = 14, 8
GAP_X_PX, GAP_Y_PX, STACK_GAP_PX, INDENT_PX = 14, 34, 6, 12
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


@dataclass(slots=True)
class _Box:
    """A module's box and where it stands; sizes in px."""

    kind: str
    title: str
    lines: list[str]
    children: "list[_Box]"
    x: float = 0
    y: float = 0

    @property
    def width(self) -> float:
        longest = max(len(text) for text in (self.title, *self.lines))
        return longest * LETTER_PX + 2 * PAD_PX

    @property
    def height(self) -> float:
        return (1 + len(self.lines)) * LINE_PX + PAD_PX

    @property
    def is_stack(self) -> bool:
        """Whether the children stand below each other: they hold nothing themselves."""
        return all(not child.children for child in self.children)

    def extent(self) -> float:
        """Return the width of the box with all below it."""
        if not self.children:
            return self.width
        if self.is_stack:
            widest = max(child.width for child in self.children)
            return max(self.width, widest + INDENT_PX)
        below = sum(child.extent() for child in self.children)
        return max(self.width, below + GAP_X_PX * (len(self.children) - 1))

    def place(self, left: float, top: float) -> None:
        """Put the box and all below it to the right of `left` and below `top`."""
        self.y = top
        extent = self.extent()
        self.x = left if self.is_stack else left + (extent - self.width) / 2
        if self.is_stack:
            y = top + self.height + STACK_GAP_PX
            for child in self.children:
                child.x, child.y = left + INDENT_PX, y
                y += child.height + STACK_GAP_PX
            return
        below = sum(c.extent() for c in self.children) + GAP_X_PX * (len(self.children) - 1)
        x = left + (extent - below) / 2
        for child in self.children:
            child.place(x, top + self.height + GAP_Y_PX)
            x += child.extent() + GAP_X_PX

    def all(self) -> "list[_Box]":
        """Return this box and all below it."""
        return [self, *(box for child in self.children for box in child.all())]


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
    shapes = [*_links(root), *(shape for box in boxes for shape in _shapes(box))]
    return document((0, 0, right, bottom), shapes)


def _box(plan: Plan) -> _Box:
    children = [_box(child) for child in plan.children]
    return _Box(plan.kind, TITLES[plan.kind], details(plan), children)


def _shapes(box: _Box) -> list[str]:
    ink = "white" if box.kind in _DARK else "#222"
    shapes = [rectangle(box.x, box.y, box.width, box.height, COLOURS[box.kind])]
    for number, words in enumerate((box.title, *box.lines)):
        weight = ' font-weight="bold"' if number == 0 else ""
        y = box.y + (number + 1) * LINE_PX
        shapes.append(text(box.x + PAD_PX, y, words, f'fill="{ink}"{weight}'))
    return shapes


def _links(box: _Box) -> list[str]:
    links = []
    for child in box.children:
        if box.is_stack:
            x, y = box.x + INDENT_PX / 2, child.y + child.height / 2
            steps = f"M{x:.1f} {box.y + box.height:.1f}V{y:.1f}H{child.x:.1f}"
        else:
            start = f"M{box.x + box.width / 2:.1f} {box.y + box.height:.1f}"
            x, middle = child.x + child.width / 2, child.y - GAP_Y_PX / 2
            steps = f"{start}V{middle:.1f}H{x:.1f}V{child.y:.1f}"
        links.append(path(steps))
        links += _links(child)
    return links
