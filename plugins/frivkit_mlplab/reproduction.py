"""Compare sweeps with the paper's figures.

``python -m frivkit_mlplab.reproduction DIR... README`` keeps the figures of sweeps beside a page
and makes its tables anew; without DIR, it makes them from what was kept.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from frivkit.gain import Curve as Shares
from frivkit.gain import gain
from frivkit.sweep.page import kept
from frivkit.sweep.page import updated as page_of

WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
HEADINGS = {
    "reference": "Trained and measured as the published code does",
    "paper": "Trained and measured as the text says",
}


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve of a figure, ours beside the paper's.

    Attributes:
        figure: The figure's number.
        panel: What is shown.
        series: The legend's words.
        values: Ours, one list of trials a width, shares in [0, 1].
        paper: The paper's means, one a width.
        tolerance: How far off a mean may be, 0 where nothing was fixed.
        family: What curves have in common that may be equally far off.
        networks: Which networks it chooses among; figure 4d shows curves of E7 and E8 again.
    """

    figure: str
    panel: str
    series: str
    values: tuple[tuple[float, ...], ...]
    paper: tuple[float, ...]
    tolerance: float
    family: str
    networks: tuple[Any, ...]

    @property
    def means(self) -> list[float]:
        """Our means."""
        return [fmean(trials) for trials in self.values]

    @property
    def inside(self) -> list[bool]:
        """Whether each of our means is as near as it should be."""
        return [
            abs(ours - theirs) <= self.tolerance
            for ours, theirs in zip(self.means, self.paper, strict=True)
        ]

    def gains(self, protocol: str) -> tuple[float, float]:
        """Give our gain and the paper's, over the doublings that a protocol counts."""
        paper = tuple((share,) for share in self.paper)
        ours, theirs = (
            gain(Shares(self.panel, self.series, WIDTHS, trials), protocol).value
            for trials in (self.values, paper)
        )
        return ours, theirs


def allowed(inputs: int, factors: Sequence[float], panel: str) -> tuple[str, float]:
    """Give the family of a curve, and how far off its points may be.

    Fixed before anything was run here, from repetitions of the training in another program: with
    10,000 inputs most of what is measured hangs on the teacher's balance and on which learning rate
    happens to be best.

    Example:
        >>> allowed(10_000, [0.01], "redundant")
        ('10,000 inputs, smallest initial weights, redundant', 0.05)
    """
    if panel not in {"prunable", "redundant"}:
        return "accuracy", 0.0
    if inputs == 10:
        return f"10 inputs, {panel}", 0.055
    if max(factors) > 1:
        return f"10,000 inputs, large initial weights or the best of all, {panel}", 0.25
    if max(factors) < 1 and panel == "redundant":
        return f"10,000 inputs, smallest initial weights, {panel}", 0.05
    return f"10,000 inputs, small initial weights, {panel}", 0.15


def curves(rows: Iterable[Mapping[str, Any]], runs: Iterable[Mapping[str, Any]]) -> list[Curve]:
    """Give all curves of a sweep that the paper has, too.

    Args:
        rows: Rows of figures.
        runs: The runs of the journal, which tell what each series is.
    """
    paper = json.loads((files("frivkit_mlplab") / "targets.json").read_text(encoding="utf-8"))
    described = {(r["figures"][0], s["label"]): s for r in runs for s in r["series"]}
    points: dict[tuple[str, str, str], dict[float, list[float]]] = {}
    for row in rows:
        if "figure" in row and row["value"] is not None:
            curve = points.setdefault((row["figure"], row["panel"], row["series"]), {})
            curve.setdefault(row["width"], []).append(row["value"])
    found = []
    for (figure, panel, label), widths in points.items():
        theirs = paper["figures"].get(figure, {}).get(panel, {}).get("series", {}).get(label)
        if theirs is None or sorted(widths) != paper["widths"]:
            continue
        series = described[figure, label]
        family, tolerance = allowed(series["inputs"], series["factors"], panel)
        values = tuple(tuple(widths[width]) for width in sorted(widths))
        shares = tuple(theirs["shares"])
        networks = (panel, *(str(series[key]) for key in sorted(series.keys() - {"label"})))
        found.append(Curve(figure, panel, label, values, shares, tolerance, family, networks))
    return found


def tables(found: Sequence[Curve], journal: Mapping[str, Any]) -> str:
    """Write all comparisons of one protocol in Markdown."""
    runs, protocol = journal["runs"], journal["settings"]["stacks"]
    seconds = sum(run["provenance"]["seconds"] for run in runs)
    networks = sum(work["networks"] for run in runs for work in run["works"])
    lines = [
        f"## {HEADINGS[protocol['measures']]}",
        "",
        f"{networks:,} networks were trained and measured in {seconds / 60:.1f} minutes.",
        "",
        "| points | off by at most | inside | of |",
        "|---|---|---|---|",
    ]
    for family in dict.fromkeys(curve.family for curve in found if curve.tolerance):
        members = [curve for curve in found if curve.family == family]
        once = {curve.networks: curve for curve in members}.values()
        inside = [near for curve in once for near in curve.inside]
        lines.append(f"| {family} | {members[0].tolerance} | {sum(inside)} | {len(inside)} |")
    for figure in sorted({curve.figure for curve in found}):
        lines += ["", f"### Figure {figure}" if figure[0] in "4E" else f"### By {figure}"]
        for panel in dict.fromkeys(c.panel for c in found if c.figure == figure):
            members = [c for c in found if (c.figure, c.panel) == (figure, panel)]
            lines += [
                "",
                *_table(panel, members, protocol["measures"]),
            ]
    return "\n".join(lines)


def _table(panel: str, members: Sequence[Curve], protocol: str) -> Iterator[str]:
    shares = members[0].tolerance > 0
    yield f"#### {panel.capitalize()}" + (" units" if shares else "")
    yield ""
    g = " g: ours, paper |" if shares else ""
    yield f"| series | 1/4 | 1/2 | 1 | 2 | 4 |{g}"
    yield "|---|---|---|---|---|---|" + ("---|" if shares else "")
    for curve in members:
        cells = [
            f"{fmean(trials):.2f} ± {pstdev(trials):.2f}, {theirs:.2f}"
            + ("" if near or not shares else " **off**")
            for trials, theirs, near in zip(curve.values, curve.paper, curve.inside, strict=True)
        ]
        if shares:
            ours, theirs = curve.gains(protocol)
            cells.append(f"{ours:.2f}, {theirs:.2f}")
        yield f"| {curve.series} | {' | '.join(cells)} |"
    if shares:
        all_gains = [curve.gains(protocol)[0] for curve in members]
        low, high = printed(members[0].figure, panel)
        yield ""
        yield (
            f"g from {min(all_gains):.2f} to {max(all_gains):.2f}; "
            f"printed in the plot: {low:.2f} to {high:.2f}."
        )


def printed(figure: str, panel: str) -> tuple[float, float]:
    """Give the smallest and the largest gain that the paper prints in a plot.

    Example:
        >>> printed("4d", "prunable")
        (2.03, 2.14)
    """
    paper = json.loads((files("frivkit_mlplab") / "targets.json").read_text(encoding="utf-8"))
    low, high = paper["figures"][figure][panel]["printed"]
    return low, high


def updated(page: str, data: Path) -> str:
    """Give a page with what stands between its two marks made anew.

    Args:
        page: Its text.
        data: Folder of folders of kept sweeps, one a protocol.

    Raises:
        DataError: the page has no such marks, or the data cannot be read.
    """
    return page_of(page, data, HEADINGS, lambda rows, run: tables(curves(rows, run["runs"]), run))


def main(arguments: Sequence[str]) -> None:
    """Keep the figures of sweeps beside a page, and make its tables anew."""
    *folders, page = map(Path, arguments)
    data = page.parent / "data"
    for folder in folders:
        journal = json.loads((folder / "run.json").read_bytes())
        place = data / journal["settings"]["stacks"]["measures"]
        kept(folder, place, lambda line: b'"figure"' in line)  # single networks are left out
    page.write_text(updated(page.read_text(encoding="utf-8"), data), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
