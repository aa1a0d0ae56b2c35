"""The picture of the part ``latency``: label agreement against the measured share of time."""

from math import log10
from statistics import mean
from xml.etree.ElementTree import Element, indent, tostring

from benchmarks.report.markdown import Json
from benchmarks.report.svg import Point, add, add_grid_line, add_line, add_text

LINES = {
    "frivkit": ("#0b3d91", 3.0, ""),
    "frivkit, units only": ("#6f9ad8", 1.8, ""),
    "frivkit, units only, any width": ("#6f9ad8", 1.5, "2 3"),
    "interpolative decomposition (ours)": ("#555555", 1.5, ""),
    "onnxsim L2 + finetune": ("#d95f02", 1.8, ""),
    "Torch-Pruning magnitude": ("#1b7f3b", 1.5, "2 3"),
    "Torch-Pruning magnitude, round_to 16": ("#1b7f3b", 1.8, ""),
    "SVD of the weights (ours)": ("#b3487a", 1.5, ""),
    "BALF (ours)": ("#8c4fb3", 1.8, ""),
}
"""Colour, width and dashes of the line of each competitor, the first on top."""

BATCHES = {"1": "one example at a time", "16": "batches of 16"}
"""The batch sizes, a column of panels for each."""

WIDTH, HEIGHT = 380, 230
"""The size of a panel."""

LEFT, TOP = 60, 34
"""The margins on the left of it and above it."""

CELL = (LEFT + WIDTH + 20, TOP + HEIGHT + 50)
ROW = 20
"""The height of a line of the legend."""

LEAST, MOST = 0.05, 2.0
"""The shares of time at the left and right edge; smaller and larger ones are drawn there."""

TIME_TICKS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
TICKS = (0.0, 0.5, 0.9, 0.99, 0.999)
HIGHEST = 0.9997
"""The agreement at the upper edge, where all higher ones are drawn, too."""

NOTHING_CHANGED: Point = (1.0, HIGHEST)
"""The original network, where every line begins."""


def picture(results: list[Json]) -> str:
    """Return the picture as SVG, a row for each network and a column for each batch size."""
    rows, legend = len(results), -(-len(LINES) // len(BATCHES))
    width, height = CELL[0] * len(BATCHES), CELL[1] * rows + ROW * (legend + 1)
    svg = Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width} {height}")
    svg.set("font-family", "sans-serif")
    svg.set("font-size", "12")
    add(svg, "rect", width=width, height=height, fill="white")
    for row, net in enumerate(results):
        for column, batch in enumerate(BATCHES):
            position = f"translate({LEFT + column * CELL[0]} {TOP + row * CELL[1]})"
            _panel(add(svg, "g", transform=position), net, batch)
    for number, (name, style) in enumerate(LINES.items()):
        column, row = divmod(number, legend)
        x, y = LEFT + column * CELL[0], CELL[1] * rows + ROW * (row + 1)
        add_line(svg, [(x, y - 4), (x + 34, y - 4)], style, name)
        add_text(svg, name, (x + 42, y), "start")
    indent(svg)
    return tostring(svg, encoding="unicode") + "\n"


def _panel(group: Element, net: Json, batch: str) -> None:
    add_text(group, f"{net['net']}, {BATCHES[batch]}", (0, -12), "start", weight="bold")
    for share in TIME_TICKS:
        x = _x_of(share)
        add_grid_line(group, (x, 0), (x, HEIGHT))
        add_text(group, f"{share:g}", (x, HEIGHT + 16))
    for agreement in TICKS:
        y = _y_of(agreement)
        add_grid_line(group, (0, y), (WIDTH, y))
        add_text(group, f"{agreement:g}", (-6, y + 4), "end")
    add_text(group, "time, as a share of the original's", (WIDTH / 2, HEIGHT + 34))
    rotated = add(group, "g", transform=f"translate({12 - LEFT} {HEIGHT / 2}) rotate(-90)")
    add_text(rotated, "labels unchanged", (0, 0))
    for name, style in reversed(LINES.items()):
        points = [NOTHING_CHANGED, *_points(net, name, batch)]
        if len(points) > 1:
            pixels = [(_x_of(share), _y_of(agreement)) for share, agreement in points]
            add_line(group, pixels, style, name)
            for x, y in pixels[1:]:
                add(group, "circle", cx=x, cy=y, r=2.6, fill=style[0])


def _points(net: Json, name: str, batch: str) -> list[Point]:
    """Return share of time and agreement, means over seeds, of each file, the largest first."""
    results = []
    for budget in net["budgets"]:
        competitor = budget["sides"].get(name, {})
        if "agreement" in competitor:
            share = mean(one[batch]["median"] for one in competitor["time"])
            macs = mean(competitor["macs"])
            results.append((macs, (share, mean(competitor["agreement"]))))
    return [point for _, point in sorted(results, reverse=True)]


def _x_of(share: float) -> float:
    """Return the x position of a share of time, by its logarithm."""
    inside = min(max(share, LEAST), MOST)
    return round(WIDTH * log10(inside / LEAST) / log10(MOST / LEAST), 1)


def _y_of(agreement: float) -> float:
    """Return the y position of an agreement, by the logarithm of the share that does not agree."""
    return round(HEIGHT * (1 - log10(1 - min(agreement, HIGHEST)) / log10(1 - HIGHEST)), 1)
