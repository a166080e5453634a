"""Bits of SVG that pictures are made of. Sizes are in px."""

import re
from html import escape

__all__ = ["document", "path", "rectangle", "room", "sheet", "text"]

_WIDTHS_PX = {**dict.fromkeys("ijl.,:;'| ·", 3.7), **dict.fromkeys("frt()-[]/", 4.8)}
_WIDTHS_PX |= dict.fromkeys("mwMW×+–", 10.8)
_CAPITAL_PX, _LETTER_PX, _BOLD = 8.4, 7.0, 1.13
"""Room of letters at the text's size, 11, in DejaVu Sans: the widest font that may stand in."""
SHEET_GAP_PX = 24
_SIZE = re.compile(r' (?:width|height)="(\d+)"')


def document(frame: tuple[float, float, float, float], shapes: list[str]) -> str:
    """Return an SVG document that shows (left, top, right, bottom) on white ground."""
    left, top, right, bottom = frame
    width, height = right - left, bottom - top
    box = f"{left:.0f} {top:.0f} {width:.0f} {height:.0f}"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
        f' viewBox="{box}" font-family="Helvetica, Arial, sans-serif" font-size="11">'
    )
    ground = f'<rect x="{left:.0f}" y="{top:.0f}" width="100%" height="100%" fill="white"/>'
    return "\n".join([head, ground, *shapes, "</svg>"]) + "\n"


def rectangle(x: float, y: float, width: float, height: float, fill: str) -> str:
    """Return a box with rounded corners."""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
        f' rx="3" fill="{fill}" stroke="#555" stroke-width="0.8"/>'
    )


def room(words: str, *, is_bold: bool = False) -> float:
    """Return the width that a line of text takes at most, whatever font shows it."""
    width = sum(_WIDTHS_PX.get(c, _CAPITAL_PX if c.isupper() else _LETTER_PX) for c in words)
    return width * _BOLD if is_bold else width


def text(x: float, y: float, words: str, style: str = 'fill="#222"') -> str:
    """Return a line of text; `style` holds its other attributes."""
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'


def path(steps: str, colour: str = "#777", style: str = "") -> str:
    """Return an open line."""
    return f'<path d="{steps}" fill="none" stroke="{colour}" stroke-width="1" {style}/>'


def sheet(pictures: list[str]) -> str:
    """Return one SVG document that shows others below each other."""
    shapes, y, right = [], 0.0, 0.0
    for picture in pictures:
        width, height = (float(found) for found in _SIZE.findall(picture)[:2])
        shapes.append(picture.replace("<svg ", f'<svg y="{y:.0f}" ', 1).rstrip())
        y += height + SHEET_GAP_PX
        right = max(right, width)
    return document((0, 0, right, max(y - SHEET_GAP_PX, 0)), shapes)
