"""The layout of a node-link picture: boxes from the root down. Sizes are in px."""

from dataclasses import dataclass

from emsearch.trees.kinds import EDGES
from emsearch.trees.svg import path, room

__all__ = ["LINE_PX", "PAD_PX", "Box", "links"]

LINE_PX, PAD_PX = 14, 8
GAP_X_PX, GAP_Y_PX, STACK_GAP_PX, INDENT_PX = 14, 34, 6, 12


@dataclass(slots=True)
class Box:
    """A module's box and where it stands."""

    kind: str
    title: str
    lines: list[str]
    children: "list[Box]"
    x: float = 0
    y: float = 0

    @property
    def width(self) -> float:
        """Room for the longest line."""
        return max(room(self.title, is_bold=True), *map(room, self.lines), 0) + 2 * PAD_PX

    @property
    def height(self) -> float:
        """Room for all lines."""
        return (1 + len(self.lines)) * LINE_PX + PAD_PX

    @property
    def is_stack(self) -> bool:
        """Whether the children stand below each other: they hold nothing themselves."""
        return all(not child.children for child in self.children)

    def columns(self) -> "list[list[Box]]":
        """Return the children side by side; edges in a row stand below each other."""
        columns: list[list[Box]] = []
        for child in self.children:
            if columns and _is_edge(child) and _is_edge(columns[-1][-1]):
                columns[-1].append(child)
            else:
                columns.append([child])
        return columns

    def extent(self) -> float:
        """Return the width of the box with all below it."""
        if not self.children:
            return self.width
        if self.is_stack:
            return max(self.width, max(child.width for child in self.children) + INDENT_PX)
        return max(self.width, self._below())

    def _below(self) -> float:
        columns = self.columns()
        return sum(map(_extent, columns)) + GAP_X_PX * (len(columns) - 1)

    def place(self, left: float, top: float) -> None:
        """Put the box and all below it to the right of `left` and below `top`."""
        self.y = top
        if self.is_stack:
            self.x = left
            _stack(self.children, left + INDENT_PX, top + self.height + STACK_GAP_PX)
            return
        extent = self.extent()
        self.x = left + (extent - self.width) / 2
        x, y = left + (extent - self._below()) / 2, top + self.height + GAP_Y_PX
        for column in self.columns():
            column[0].place(x, y)
            _stack(column[1:], x, y + column[0].height + STACK_GAP_PX)
            x += _extent(column) + GAP_X_PX

    def all(self) -> "list[Box]":
        """Return this box and all below it."""
        return [self, *(box for child in self.children for box in child.all())]


def _is_edge(box: Box) -> bool:
    return box.kind in EDGES and not box.children


def _extent(column: list[Box]) -> float:
    return max(box.extent() for box in column)


def _stack(boxes: list[Box], x: float, y: float) -> None:
    for box in boxes:
        box.x, box.y = x, y
        y += box.height + STACK_GAP_PX


def links(box: Box) -> list[str]:
    """Return the lines from a box to all below it."""
    drawn = []
    for column in [box.children] if box.is_stack else box.columns():
        for place, child in enumerate(column):
            drawn.append(path(_link(box, column, place)))
            drawn += links(child)
    return drawn


def _link(box: Box, column: list[Box], place: int) -> str:
    child = column[place]
    foot = box.y + box.height
    if box.is_stack:
        x, y = box.x + INDENT_PX / 2, child.y + child.height / 2
        return f"M{x:.1f} {foot:.1f}V{y:.1f}H{child.x:.1f}"
    if place:
        above = column[place - 1]
        return f"M{child.x + PAD_PX:.1f} {above.y + above.height:.1f}V{child.y:.1f}"
    middle = child.y - GAP_Y_PX / 2
    start, end = box.x + box.width / 2, child.x + child.width / 2
    return f"M{start:.1f} {foot:.1f}V{middle:.1f}H{end:.1f}V{child.y:.1f}"
