"""The picture of the part ``quality``: agreement against the share of multiply-accumulates left."""

from collections.abc import Sequence
from math import log10
from statistics import mean
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from benchmarks.markdown import Json

Point = tuple[float, float]

LINES = {
    "frivkit": ("#0b3d91", 3.0, ""),
    "frivkit, no refit": ("#6f9ad8", 1.5, "2 3"),
    "frivkit, pca": ("#8c4fb3", 1.5, ""),
    "interpolative decomposition (ours)": ("#555555", 1.5, ""),
    "Gram-ridge compensation (ours)": ("#555555", 1.5, "2 3"),
    "onnxsim L2": ("#d95f02", 1.5, "2 3"),
    "onnxsim L2 + finetune": ("#d95f02", 1.8, ""),
    "onnxsim Wanda": ("#e6a01a", 1.5, "2 3"),
    "onnxsim Wanda + finetune": ("#e6a01a", 1.8, ""),
    "Torch-Pruning magnitude": ("#1b7f3b", 1.8, ""),
    "Torch-Pruning Taylor": ("#63b35c", 1.8, ""),
    "Torch-Pruning random": ("#1b7f3b", 1.5, "2 3"),
}
"""Colour, width and dashes of each side that is drawn, the first on top."""

WIDTH, HEIGHT = 300, 230
"""The box of a panel."""

LEFT, TOP = 60, 34
"""Room on the left of it and above it."""

CELL = (LEFT + WIDTH + 20, TOP + HEIGHT + 50)
COLUMNS = 3
ROW = 20
"""Height of a line of the legend."""

APART = 32
"""Pixels between numbers below a panel; one that would be nearer to its neighbour is left out."""

UP = (0.0, 0.5, 0.9, 0.99, 0.999)
HIGHEST = 0.9997
"""What the upper edge stands for: all that agree more often are drawn there."""


def picture(found: list[Json]) -> str:
    """Return the picture as SVG: a panel a network, a line a side, both axes logarithmic."""
    rows, legend = -(-len(found) // COLUMNS), -(-len(LINES) // COLUMNS)
    width, height = CELL[0] * COLUMNS, CELL[1] * rows + ROW * (legend + 1)
    svg = Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width} {height}")
    svg.set("font-family", "sans-serif")
    svg.set("font-size", "12")
    _add(svg, "rect", width=width, height=height, fill="white")
    for number, net in enumerate(found):
        down, right = divmod(number, COLUMNS)
        place = f"translate({LEFT + right * CELL[0]} {TOP + down * CELL[1]})"
        _panel(_add(svg, "g", transform=place), net)
    for number, (name, style) in enumerate(LINES.items()):
        right, down = divmod(number, legend)
        x, y = LEFT + right * CELL[0], CELL[1] * rows + ROW * (down + 1)
        _line(svg, [(x, y - 4), (x + 34, y - 4)], style, name)
        _text(svg, name, (x + 42, y), "start")
    indent(svg)
    return tostring(svg, encoding="unicode") + "\n"


def _panel(group: Element, net: Json) -> None:
    _text(group, net["net"], (0, -12), "start", weight="bold")
    levels = sorted({each["level"] for each in net["budgets"] if each["kind"] == "macs"} | {1.0})
    last = WIDTH + APART
    for level in reversed(levels):
        x = _across(level, levels[0])
        _grid(group, (x, 0), (x, HEIGHT))
        if last - x >= APART:
            _text(group, f"{level:.0%}", (x, HEIGHT + 16))
            last = x
    for agreement in UP:
        y = _up(agreement)
        _grid(group, (0, y), (WIDTH, y))
        _text(group, f"{agreement:g}", (-6, y + 4), "end")
    _text(group, "share of MACs left", (WIDTH / 2, HEIGHT + 34))
    turned = _add(group, "g", transform=f"translate({12 - LEFT} {HEIGHT / 2}) rotate(-90)")
    _text(turned, "labels unchanged", (0, 0))
    for name, style in reversed(LINES.items()):
        points = [(1.0, HIGHEST), *sorted(_points(net, name), reverse=True)]
        if len(points) > 1:
            drawn = [(_across(left, levels[0]), _up(agreement)) for left, agreement in points]
            _line(group, drawn, style, name)
            for x, y in drawn[1:]:
                _add(group, "circle", cx=x, cy=y, r=2.6, fill=style[0])


def _points(net: Json, name: str) -> list[Point]:
    """Return share of MACs left and agreement, means over seeds, for each budget that was met."""
    found = []
    for budget in net["budgets"]:
        side = budget["sides"].get(name, {})
        if budget["kind"] == "macs" and "agreement" in side:
            left = mean(side["macs"]) / mean(net["whole"]["macs"])
            found.append((left, mean(side["agreement"])))
    return found


def _across(left: float, least: float) -> float:
    """Return the place of a share between a little less than the least budget and all."""
    low = log10(0.85 * least)
    return round(WIDTH * max(0.0, 1 - log10(left) / low), 1)


def _up(agreement: float) -> float:
    """Return the height at which an agreement is drawn: by the logarithm of what does not agree."""
    return round(HEIGHT * (1 - log10(1 - min(agreement, HIGHEST)) / log10(1 - HIGHEST)), 1)


def _line(
    parent: Element, points: Sequence[Point], style: tuple[str, float, str], name: str
) -> None:
    colour, width, dashes = style
    line = _add(parent, "polyline", points=" ".join(f"{x:g},{y:g}" for x, y in points))
    for key, value in (("fill", "none"), ("stroke", colour), ("stroke-width", f"{width:g}")):
        line.set(key, value)
    if dashes:
        line.set("stroke-dasharray", dashes)
    SubElement(line, "title").text = name


def _grid(parent: Element, begin: Point, end: Point) -> None:
    _add(parent, "line", x1=begin[0], y1=begin[1], x2=end[0], y2=end[1], stroke="#dddddd")


def _text(
    parent: Element, words: str, place: Point, anchor: str = "middle", weight: str = "normal"
) -> None:
    element = _add(parent, "text", x=place[0], y=place[1], fill="#222222")
    element.set("text-anchor", anchor)
    element.set("font-weight", weight)
    element.text = words


def _add(parent: Element, tag: str, **attributes: object) -> Element:
    return SubElement(
        parent,
        tag,
        {
            key: value if isinstance(value, str) else f"{value:g}"
            for key, value in attributes.items()
        },
    )
