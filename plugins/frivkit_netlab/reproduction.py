"""Lay what sweeps of CIFAR-10 found beside the paper's figures and claims.

``python -m frivkit_netlab.reproduction DIR... README`` keeps what sweeps found beside a page and
makes its tables anew; without DIR, it makes them from what was kept.  A sweep that has not come to
its end may go on while this is done.
"""

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from statistics import fmean, median, pstdev
from typing import Any

from frivkit.dataspec import DataSpec
from frivkit.figure import RESULTS, read_curves
from frivkit.gain import UNITS, Curve, gain
from frivkit.sweep.page import kept
from frivkit.sweep.page import updated as page_of
from frivkit.sweep.recipe import read_recipe
from frivkit.sweep.results import Results
from frivkit.sweep.work import Asked, Plan
from frivkit_netlab.claims import Claim, Curves, claims, place
from frivkit_netlab.points import fraction

RECIPES = ("fig4a", "fig4b", "fig4c", "fig2", "e6", "e11", "cifar-epochs")
"""In the order of the page."""
HEADINGS = {
    "reference": "Trained and measured as the published code does",
    "paper": "Trained and measured as the text says",
}
SHOWN = ("4a", "4b", "4c", "E6", "E11", "conv2", "resnet56 layers")
ACCURACIES = ("train accuracy", "test accuracy")


def plans(journal: Mapping[str, Any]) -> Iterator[tuple[str, Plan]]:
    """Give the plans of all recipes, as they were for the data of a sweep."""
    specs = [DataSpec.parse(work["train"]) for run in journal["runs"] for work in run["works"]]
    data = tuple(str(spec.without(*spec.options)) for spec in specs[:1])
    for recipe in RECIPES:
        for plan in read_recipe(recipe, Asked("laptop", journal["settings"]["protocol"], data)):
            yield recipe, plan


def draw_up(data: Path) -> None:
    """Draw up the figures of kept results, those of unfinished runs too."""
    results = Results(data / RESULTS)
    journal = json.loads((data / "run.json").read_bytes())
    begun = {figure for run in journal["runs"] for figure in run["figures"]}
    for _, plan in plans(journal):
        if begun.issuperset(plan.figures):  # what was reduced stands in its run
            results.put_figures(plan.figures, plan.points(results.measured))


def written(data: Path, journal: Mapping[str, Any]) -> str:
    """Write in Markdown what the sweep of one protocol found."""
    protocol = journal["settings"]["protocol"]
    curves: Curves = {
        (curve.figure, curve.panel, curve.series): curve for curve in _whole(read_curves(data))
    }
    lines = [
        f"## {HEADINGS[protocol]}",
        "",
        *_progress(data, journal),
        "",
        "### Claims",
        "",
        *_claims(claims(curves, protocol)),
    ]
    for figure in SHOWN:
        if any(its_figure == figure for its_figure, _, _ in curves):
            heading = f"Figure {figure}" if figure[0] in "4E" else f"By {figure}, not in the paper"
            lines += ["", f"### {heading.replace('By conv2', 'The second convolution alone')}"]
            lines += _figure(figure, curves, protocol)
    return "\n".join(lines)


def _whole(found: Sequence[Curve]) -> Iterator[Curve]:
    """Give curves, and those of the units that are not of their kind."""
    for curve in found:
        yield curve
        if curve.panel in UNITS:
            yield curve.complement()


def _progress(data: Path, journal: Mapping[str, Any]) -> Iterator[str]:
    """Say what there is of each recipe, and how long networks took."""
    results = Results(data / RESULTS)
    names = {work.name for _, plan in plans(journal) for work in plan.missing([])[0]}
    have = len(names & {row["work"] for row in results.measured})
    if have < len(names):
        yield (
            f"The sweep has not come to its end: {have} of {len(names)} networks are there, and "
            "what is said below is said of them."
        )
        yield ""
    yield "| recipe | networks | of | networks at each width |"
    yield "|---|---|---|---|"
    for recipe, plan in plans(journal):
        left, there = plan.missing(results.measured)
        every = plan.missing([])[0]
        missing = {work.name for work in left}
        widths: dict[float, list[bool]] = {}
        for work in every:
            widths.setdefault(work.width, []).append(work.name not in missing)  # type: ignore[attr-defined]  # networks have widths
        shares = ", ".join(
            f"{fraction(width)}: {sum(done)} of {len(done)}" for width, done in widths.items()
        )
        yield f"| `{recipe}` | {there} | {len(every)} | {shares} |"
    yield ""
    yield from _times(journal)


def _times(journal: Mapping[str, Any]) -> Iterator[str]:
    """Give the median time of a network by architecture and width."""
    seconds: dict[tuple[str, float], list[float]] = {}
    for run in journal["runs"]:
        for work in run["works"]:
            seconds.setdefault((work["architecture"], work["width"]), []).append(work["seconds"])
    total = sum(map(sum, seconds.values()))
    count = sum(map(len, seconds.values()))
    yield f"{count} networks were trained and measured in {total / 60:.0f} minutes."
    yield ""
    yield "| architecture | width | networks | median time of one, min |"
    yield "|---|---|---|---|"
    for (architecture, width), each in sorted(seconds.items()):
        share = f"{median(each) / 60:.1f}"
        yield f"| `{architecture}` | {fraction(width)} | {len(each)} | {share} |"


def _claims(found: Sequence[Claim]) -> Iterator[str]:
    yield "| the paper's claim | its figure | here, with 95 % interval | verdict |"
    yield "|---|---|---|---|"
    for claim in found:
        numbers = "; ".join(map(str, claim.numbers))
        yield f"| {claim.says} | {claim.figure} | {numbers} | **{claim.verdict}** |"


def _figure(figure: str, curves: Curves, protocol: str) -> Iterator[str]:
    paper = json.loads((files("frivkit_netlab") / "targets.json").read_text(encoding="utf-8"))
    for panel in (*UNITS, *ACCURACIES):
        members = [c for (f, p, _), c in curves.items() if (f, p) == (figure, panel)]
        if members:
            theirs = paper["figures"].get(figure, {}).get(panel, {}).get("series", {})
            yield ""
            yield f"#### {panel.capitalize()}" + (" units" if panel in UNITS else "")
            yield ""
            yield from _table(members, theirs, protocol)


def _table(members: Sequence[Curve], theirs: Mapping[str, Any], protocol: str) -> Iterator[str]:
    """Write a panel: shares by width, and for numbers of units their gain."""
    units = members[0].panel in UNITS
    heads = ["series", *map(fraction, members[0].widths)]
    heads += ["g", "g and 2"] if units else []
    heads += ["paper's g", "paper, widths 1/4 to 4"] if theirs else []
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for curve in members:
        cells = [
            f"{fmean(trials):.2f} ± {pstdev(trials):.2f}" if trials else "–"
            for trials in curve.values
        ]
        if units:
            found = gain(curve, protocol)
            low, high = found.interval or (0.0, 0.0)
            value = "–" if math.isnan(found.value) else f"{found.value:.2f}"
            cells.append(value + (f" ({low:.2f} to {high:.2f})" if found.interval else ""))
            cells.append(place(found.interval))
        if theirs:
            their = theirs.get(curve.series.replace("ResNet20", "ResNet56"), {})
            cells.append(f"{their['gain']:.2f}" if their else "–")
            cells.append(
                " ".join("–" if s is None else f"{s:.2f}" for s in their.get("shares", ()))
            )
        yield f"| {' | '.join([curve.series, *cells])} |"


def updated(page: str, data: Path) -> str:
    """Give a page with what stands between its two marks made anew.

    Args:
        page: Its text.
        data: Folder of folders of kept sweeps, one a protocol.

    Raises:
        DataError: the page has no such marks, or the data cannot be read.
    """
    return page_of(
        page, data, HEADINGS, lambda _, run: written(data / run["settings"]["protocol"], run)
    )


def main(arguments: Sequence[str]) -> None:
    """Keep what sweeps found beside a page, and make its tables anew."""
    *folders, page = map(Path, arguments)
    data = page.parent / "data"
    for folder in folders:
        journal = json.loads((folder / "run.json").read_bytes())
        there = data / journal["settings"]["protocol"]
        kept(folder, there, lambda _: True)  # all of it, so that a sweep can go on from there
        draw_up(there)
    page.write_text(updated(page.read_text(encoding="utf-8"), data), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
