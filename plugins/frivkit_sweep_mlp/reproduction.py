"""Compare sweeps with the paper's figures.

``python -m frivkit_sweep_mlp.reproduction DIR... README`` stores the figures of sweeps beside a
page and writes its tables; without DIR, it writes them from the stored figures.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import click

from frivkit.cli import Program, main
from frivkit.errors import DataError
from frivkit.experiments.gain import WidthCurve as Shares
from frivkit.experiments.gain import gain
from frivkit.experiments.results import read_journal
from frivkit.experiments.results_page import store_results, updated_page
from frivkit.files import write_file

WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
HEADINGS = {
    "reference": "Trained and measured as the published code does",
    "paper": "Trained and measured as the text says",
}


@dataclass(frozen=True, slots=True)
class ReferenceCurve:
    """A curve of a figure, ours and the paper's.

    Attributes:
        figure: The figure's number.
        panel: The panel of the figure.
        series: The text of the legend.
        values: Ours, one tuple of trials a width, shares in [0, 1].
        paper: The paper's means, one a width.
        tolerance: Largest difference allowed of a mean, 0 if none was fixed.
        family: The name of the curves with the same tolerance.
        networks: The identity of its networks; figure 4d shows curves of E7 and E8 again.
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
        """Whether each of our means is within the tolerance."""
        return [
            abs(ours - theirs) <= self.tolerance
            for ours, theirs in zip(self.means, self.paper, strict=True)
        ]

    def gains(self, protocol: str) -> tuple[float, float]:
        """Return our gain and the paper's, over the doublings that a protocol counts."""
        paper = tuple((share,) for share in self.paper)
        ours, theirs = (
            gain(Shares(self.panel, self.series, WIDTHS, trials), protocol).value
            for trials in (self.values, paper)
        )
        return ours, theirs


def allowed(inputs: int, factors: Sequence[float], panel: str) -> tuple[str, float]:
    """Return the family of a curve, and its tolerance.

    The tolerances were fixed before any run of this program, from repetitions of the training in
    another program: with 10,000 inputs results depend most on the teacher's balance and on which
    learning rate is best by chance.

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


def curves(
    rows: Iterable[Mapping[str, Any]], runs: Iterable[Mapping[str, Any]]
) -> list[ReferenceCurve]:
    """Return all curves of a sweep that the paper has too.

    Args:
        rows: Rows of figures.
        runs: The runs of the journal, with the description of each series.
    """
    paper = json.loads((files("frivkit_sweep_mlp") / "targets.json").read_text(encoding="utf-8"))
    described = {(r["figures"][0], s["label"]): s for r in runs for s in r["series"]}
    points: dict[tuple[str, str, str], dict[float, list[float]]] = {}
    for row in rows:
        if "figure" in row and row["value"] is not None:
            curve = points.setdefault((row["figure"], row["panel"], row["series"]), {})
            curve.setdefault(row["width"], []).append(row["value"])
    compared = []
    for (figure, panel, label), widths in points.items():
        theirs = paper["figures"].get(figure, {}).get(panel, {}).get("series", {}).get(label)
        if theirs is None or sorted(widths) != paper["widths"]:
            continue
        series = described[figure, label]
        family, tolerance = allowed(series["inputs"], series["factors"], panel)
        values = tuple(tuple(widths[width]) for width in sorted(widths))
        shares = tuple(theirs["shares"])
        networks = (panel, *(str(series[key]) for key in sorted(series.keys() - {"label"})))
        compared.append(
            ReferenceCurve(figure, panel, label, values, shares, tolerance, family, networks)
        )
    return compared


def tables(curves: Sequence[ReferenceCurve], journal: Mapping[str, Any]) -> str:
    """Return all comparisons of one protocol as Markdown."""
    runs, protocol = journal["runs"], journal["settings"]["stacks"]
    seconds = sum(run["provenance"]["seconds"] for run in runs)
    networks = sum(job["networks"] for run in runs for job in run["works"])
    lines = [
        f"## {HEADINGS[protocol['measures']]}",
        "",
        f"{networks:,} networks were trained and measured in {seconds / 60:.1f} minutes.",
        "",
        "| points | off by at most | inside | of |",
        "|---|---|---|---|",
    ]
    for family in dict.fromkeys(curve.family for curve in curves if curve.tolerance):
        members = [curve for curve in curves if curve.family == family]
        distinct = {curve.networks: curve for curve in members}.values()
        inside = [near for curve in distinct for near in curve.inside]
        lines.append(f"| {family} | {members[0].tolerance} | {sum(inside)} | {len(inside)} |")
    for figure in sorted({curve.figure for curve in curves}):
        lines += ["", f"### Figure {figure}" if figure[0] in "4E" else f"### By {figure}"]
        for panel in dict.fromkeys(c.panel for c in curves if c.figure == figure):
            members = [c for c in curves if (c.figure, c.panel) == (figure, panel)]
            lines += [
                "",
                *_table(panel, members, protocol["measures"]),
            ]
    return "\n".join(lines)


def _table(panel: str, members: Sequence[ReferenceCurve], protocol: str) -> Iterator[str]:
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
    """Return the least and the largest gain printed in a plot of the paper.

    Example:
        >>> printed("4d", "prunable")
        (2.03, 2.14)
    """
    paper = json.loads((files("frivkit_sweep_mlp") / "targets.json").read_text(encoding="utf-8"))
    low, high = paper["figures"][figure][panel]["printed"]
    return low, high


def updated(page: str, data: Path) -> str:
    """Return a page with the text between its two comments replaced by the tables.

    Args:
        page: Its text.
        data: A folder with a folder of stored figures for each protocol.

    Raises:
        DataError: the page lacks these comments, or the data cannot be read.
    """
    return updated_page(
        page, data, HEADINGS, lambda rows, run: tables(curves(rows, run["runs"]), run)
    )


@click.command(cls=Program)
@click.argument("folders", metavar="[DIR]...", nargs=-1, type=click.Path(path_type=Path))
@click.argument("page", metavar="README", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def command(folders: tuple[Path, ...], page: Path) -> None:
    """Store the figures of sweeps beside a page, and write its tables."""
    text, data = page.read_text(encoding="utf-8"), page.parent / "data"
    for folder in folders:
        store_results(folder, data / _protocol(folder), _of_figure)
    write_file(page, updated(text, data).encode())


def _protocol(folder: Path) -> str:
    """Return the protocol of a sweep of perceptrons."""
    try:
        protocol = read_journal(folder / "run.json")["settings"]["stacks"]["measures"]
        if protocol in HEADINGS:
            return str(protocol)
        raise ValueError(f"its protocol is {protocol!r}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder} has no sweep of perceptrons ({error}); give the folder of one"
        ) from error


def _of_figure(line: bytes) -> bool:
    """Whether a line is of a figure, and not of a single network."""
    return b'"figure"' in line


if __name__ == "__main__":
    main(None, command, "python -m frivkit_sweep_mlp.reproduction")
