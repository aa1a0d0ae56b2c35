"""Elements of SVG pictures: lines, grid lines and text."""

from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement

Point = tuple[float, float]

Style = tuple[str, float, str]
"""Colour, width and dashes of a line."""


def add_line(parent: Element, points: Sequence[Point], style: Style, name: str) -> None:
    """Add a line through points, with its name as the tooltip."""
    colour, width, dashes = style
    line = add(parent, "polyline", points=" ".join(f"{x:g},{y:g}" for x, y in points))
    for key, value in (("fill", "none"), ("stroke", colour), ("stroke-width", f"{width:g}")):
        line.set(key, value)
    if dashes:
        line.set("stroke-dasharray", dashes)
    SubElement(line, "title").text = name


def add_grid_line(parent: Element, begin: Point, end: Point) -> None:
    """Add a thin grey line."""
    add(parent, "line", x1=begin[0], y1=begin[1], x2=end[0], y2=end[1], stroke="#dddddd")


def add_text(
    parent: Element, words: str, position: Point, anchor: str = "middle", weight: str = "normal"
) -> None:
    """Add text whose ``start``, ``middle`` or ``end`` is at a position."""
    element = add(parent, "text", x=position[0], y=position[1], fill="#222222")
    element.set("text-anchor", anchor)
    element.set("font-weight", weight)
    element.text = words


def add(parent: Element, tag: str, **attributes: object) -> Element:
    """Add an element and return it; numbers are written in their shortest form."""
    return SubElement(
        parent,
        tag,
        {
            key: value if isinstance(value, str) else f"{value:g}"
            for key, value in attributes.items()
        },
    )
