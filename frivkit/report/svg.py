"""SVG that fits any width: positions are shares of a box, and text has a fixed size.

The box is the area of the plot; the page's style leaves room around it for ticks and sets the
colours by class.  ElementTree escapes all text.
"""

from xml.etree.ElementTree import Element, SubElement, tostring

Point = tuple[float, float]
"""A position in the box: 0 is its left or upper edge, 1 its right or lower one."""


def new_drawing(css: str, label: str) -> Element:
    """Return an empty drawing of these classes; ``label`` is read by screen readers."""
    return Element("svg", {"class": f"plot {css}", "role": "img", "aria-label": label})


def to_text(svg: Element) -> str:
    """Return a drawing as text for a page."""
    return tostring(svg, encoding="unicode")


def at(share: float) -> str:
    """Return a share of the box as a length in SVG.

    Example:
        >>> at(0.664885)
        '66.49%'
    """
    return f"{100 * share:.2f}%"


def add(parent: Element, tag: str, css: str = "", title: str = "", **attributes: str) -> Element:
    """Add an element; its title is shown when the pointer rests on it."""
    element = SubElement(parent, tag, attributes)
    if css:
        element.set("class", css)
    if title:
        SubElement(element, "title").text = title
    return element


def line(svg: Element, css: str, begin: Point, end: Point) -> None:
    """Add a straight line."""
    (x1, y1), (x2, y2) = begin, end
    add(svg, "line", css, x1=at(x1), y1=at(y1), x2=at(x2), y2=at(y2))


def box(svg: Element, css: str, corner: Point, size: Point, title: str = "") -> None:
    """Add a rectangle by its upper left corner."""
    (x, y), (width, height) = corner, size
    add(svg, "rect", css, title, x=at(x), y=at(y), width=at(width), height=at(height))


def dot(svg: Element, css: str, centre: Point, radius: float, title: str) -> None:
    """Add a circle of a radius in pixels."""
    add(svg, "circle", css, title, cx=at(centre[0]), cy=at(centre[1]), r=f"{radius:g}")


def text(
    svg: Element,
    words: str,
    position: Point,
    shift: Point = (0, 0),
    *,
    anchor: str = "middle",
    css: str = "tick",
) -> None:
    """Add text, shifted to the right and down by pixels."""
    element = add(svg, "text", css, x=at(position[0]), y=at(position[1]))
    element.set("dx", f"{shift[0]:g}")
    element.set("dy", f"{shift[1]:g}")
    element.set("text-anchor", anchor)
    element.text = words


def curve(svg: Element, lines: list[tuple[str, list[Point]]]) -> None:
    """Add lines through points, each with its class, the last one on top.

    SVG allows no percentages in the points of a line, so the lines are in a nested drawing that is
    stretched; the style keeps the width of its lines.
    """
    plane = add(svg, "svg", viewBox="0 0 1 1", preserveAspectRatio="none")
    plane.set("width", "100%")
    plane.set("height", "100%")
    for css, points in lines:
        add(plane, "polyline", css, points=" ".join(f"{x:.4f},{y:.4f}" for x, y in points))
