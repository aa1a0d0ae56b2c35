"""The picture of ``docs/scaling.md``: how many times faster more workers are."""

from math import log2
from xml.etree.ElementTree import Element, indent, tostring

from benchmarks.measuring.rounds import Json
from benchmarks.report.svg import Point, Style, add, add_grid_line, add_line, add_text

SIZE = 300
"""The width and height of the panel."""
LEFT, TOP = 64, 34
WIDTH, HEIGHT = LEFT + SIZE + 190, TOP + SIZE + 56
TICKS = (1, 4, 16, 64, 256)
IDEAL: Style = ("#999999", 1.2, "4 4")
STYLES: tuple[Style, ...] = (
    ("#b3487a", 1.8, "2 3"),
    ("#1b7f3b", 2.2, ""),
    ("#0b3d91", 2.6, ""),
    ("#d95f02", 2.2, ""),
)


def lines(made: Json) -> dict[str, dict[str, Json]]:
    """Return what is drawn: rows by the number of workers, by the name of a line."""
    sweeps = {f"figure 1, {order}": rows for order, rows in made["sweep"].items()}
    return sweeps | {f"{name}, 16 layers": rows for name, rows in made["analysis"].items()}


def picture(made: Json) -> str:
    """Return the picture as SVG: speed-up against workers, both on scales of powers of two."""
    root = Element("svg", xmlns="http://www.w3.org/2000/svg")
    root.set("viewBox", f"0 0 {WIDTH} {HEIGHT}")
    root.set("font-family", "sans-serif")
    root.set("font-size", "12")
    add(root, "rect", width=WIDTH, height=HEIGHT, fill="#ffffff")
    add_text(root, "times faster than one worker (simulated)", (LEFT, TOP - 14), "start", "bold")
    for tick in TICKS:
        x, y = _place(tick, tick)
        add_grid_line(root, (x, TOP), (x, TOP + SIZE))
        add_grid_line(root, (LEFT, y), (LEFT + SIZE, y))
        add_text(root, str(tick), (x, TOP + SIZE + 18))
        add_text(root, str(tick), (LEFT - 8, y + 4), "end")
    add_text(root, "workers", (LEFT + SIZE / 2, TOP + SIZE + 40))
    ends = [("as many as workers", IDEAL, _place(TICKS[-1], TICKS[-1]))]
    add_line(root, [_place(1, 1), ends[0][2]], IDEAL, ends[0][0])
    for (name, rows), style in zip(lines(made).items(), STYLES, strict=False):
        one = rows["1"]["seconds"]
        points = [_place(int(count), one / row["seconds"]) for count, row in rows.items()]
        add_line(root, points, style, name)
        ends.append((name, style, points[-1]))
    _add_names(root, ends)
    indent(root)
    return tostring(root, encoding="unicode") + "\n"


def _add_names(root: Element, ends: list[tuple[str, Style, Point]]) -> None:
    """Add the name of each line at its end, the names at least a line of text apart."""
    below = TOP - 16.0
    for name, style, (x, y) in sorted(ends, key=lambda end: end[2][1]):
        below = max(below + 16, y)
        add_line(root, [(x + 4, y), (x + 14, below)], (style[0], 1.0, ""), name)
        add_text(root, name, (x + 18, below + 4), "start")


def _place(workers: float, faster: float) -> Point:
    across = log2(workers) / log2(TICKS[-1])
    up = log2(max(1.0, faster)) / log2(TICKS[-1])
    return round(LEFT + SIZE * across, 1), round(TOP + SIZE * (1 - up), 1)
