"""The picture of the part ``quality``: label agreement against the share of MACs."""

from math import log10
from statistics import mean
from xml.etree.ElementTree import Element, indent, tostring

from benchmarks.report.markdown import Json
from benchmarks.report.svg import Point, add, add_grid_line, add_line, add_text

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
"""Colour, width and dashes of the line of each competitor, the first on top."""

WIDTH, HEIGHT = 300, 230
"""The size of a panel."""

LEFT, TOP = 60, 34
"""The margins on the left of it and above it."""

CELL = (LEFT + WIDTH + 20, TOP + HEIGHT + 50)
COLUMNS = 3
ROW = 20
"""The height of a line of the legend."""

LABEL_DISTANCE = 32
"""The least distance of numbers below a panel in pixels; numbers that are closer are left out."""

TICKS = (0.0, 0.5, 0.9, 0.99, 0.999)
HIGHEST = 0.9997
"""The agreement at the upper edge, where all higher ones are drawn, too."""


def picture(results: list[Json]) -> str:
    """Return the picture as SVG, a panel for each network, with logarithmic axes."""
    rows, legend = -(-len(results) // COLUMNS), -(-len(LINES) // COLUMNS)
    width, height = CELL[0] * COLUMNS, CELL[1] * rows + ROW * (legend + 1)
    svg = Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width} {height}")
    svg.set("font-family", "sans-serif")
    svg.set("font-size", "12")
    add(svg, "rect", width=width, height=height, fill="white")
    for number, net in enumerate(results):
        row, column = divmod(number, COLUMNS)
        position = f"translate({LEFT + column * CELL[0]} {TOP + row * CELL[1]})"
        _panel(add(svg, "g", transform=position), net)
    for number, (name, style) in enumerate(LINES.items()):
        column, row = divmod(number, legend)
        x, y = LEFT + column * CELL[0], CELL[1] * rows + ROW * (row + 1)
        add_line(svg, [(x, y - 4), (x + 34, y - 4)], style, name)
        add_text(svg, name, (x + 42, y), "start")
    indent(svg)
    return tostring(svg, encoding="unicode") + "\n"


def _panel(group: Element, net: Json) -> None:
    add_text(group, net["net"], (0, -12), "start", weight="bold")
    levels = sorted({each["level"] for each in net["budgets"] if each["kind"] == "macs"} | {1.0})
    last = float(WIDTH + LABEL_DISTANCE)
    for level in reversed(levels):
        x = _x_of(level, levels[0])
        add_grid_line(group, (x, 0), (x, HEIGHT))
        if last - x >= LABEL_DISTANCE:
            add_text(group, f"{level:.0%}", (x, HEIGHT + 16))
            last = x
    for agreement in TICKS:
        y = _y_of(agreement)
        add_grid_line(group, (0, y), (WIDTH, y))
        add_text(group, f"{agreement:g}", (-6, y + 4), "end")
    add_text(group, "share of MACs left", (WIDTH / 2, HEIGHT + 34))
    rotated = add(group, "g", transform=f"translate({12 - LEFT} {HEIGHT / 2}) rotate(-90)")
    add_text(rotated, "labels unchanged", (0, 0))
    for name, style in reversed(LINES.items()):
        points = [(1.0, HIGHEST), *sorted(_points(net, name), reverse=True)]
        if len(points) > 1:
            pixels = [(_x_of(share, levels[0]), _y_of(agreement)) for share, agreement in points]
            add_line(group, pixels, style, name)
            for x, y in pixels[1:]:
                add(group, "circle", cx=x, cy=y, r=2.6, fill=style[0])


def _points(net: Json, name: str) -> list[Point]:
    """Return the share of MACs and agreement, means over seeds, of each budget that was met."""
    results = []
    for budget in net["budgets"]:
        competitor = budget["sides"].get(name, {})
        if budget["kind"] == "macs" and "agreement" in competitor:
            share = mean(competitor["macs"]) / mean(net["whole"]["macs"])
            results.append((share, mean(competitor["agreement"])))
    return results


def _x_of(share: float, least: float) -> float:
    """Return the x position of a share between a little less than the least budget and 1."""
    low = log10(0.85 * least)
    return round(WIDTH * max(0.0, 1 - log10(share) / low), 1)


def _y_of(agreement: float) -> float:
    """Return the y position of an agreement, by the logarithm of the share that does not agree."""
    return round(HEIGHT * (1 - log10(1 - min(agreement, HIGHEST)) / log10(1 - HIGHEST)), 1)
