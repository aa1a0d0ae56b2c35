"""Compare sweeps of CIFAR-10 with the paper's figures and claims.

``python -m frivkit_sweep_networks.reproduction DIR... README`` stores the results of sweeps beside
a page and writes its tables; without DIR, it writes them from the stored results.  A sweep that is
still running is not disturbed.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from statistics import fmean, median, pstdev
from typing import Any

import click

from frivkit.cli import Program, main
from frivkit.data.spec import DataSpec
from frivkit.errors import DataError
from frivkit.experiments.figure import JOURNAL, RESULTS, read_curves
from frivkit.experiments.gain import UNITS, WidthCurve, gain
from frivkit.experiments.jobs import Row, SweepPlan, SweepRequest
from frivkit.experiments.recipe import read_recipe
from frivkit.experiments.results import Results, read_journal
from frivkit.experiments.results_page import store_results, updated_page
from frivkit.files import write_file
from frivkit.hooks.registry import installed
from frivkit_sweep_networks.claims import Claim, Curves, claims, compared_with_2
from frivkit_sweep_networks.network import NetworkJob, settings_name
from frivkit_sweep_networks.points import fraction, has_learned

RECIPES = ("fig4a", "fig4b", "fig4c", "fig2", "e6", "e11", "cifar-epochs")
"""In the order of the page."""
HEADINGS = {
    "reference": "Trained and measured as the published code does",
    "paper": "Trained and measured as the text says",
}
SHOWN = {
    **{figure: f"Figure {figure}" for figure in ("4a", "4b", "4c", "E6", "E11")},
    "conv2": "The second convolution alone, not in the paper",
    "resnet56 layers": "By layers of ResNet20, not in the paper",
}
"""The figures with tables, and their headings."""
DRAWN = ("1", "2", "4a", "4b", "4c", "e3", "e6", "e11", "e12")
"""The figures that the page shows once they are drawn: in ``figures`` beside it, by protocol."""
LIKE_E12 = "A figure like E12, there on ImageNet: AlexNets by epochs past convergence"
ACCURACIES = ("train accuracy", "test accuracy")


def plans(journal: Mapping[str, Any]) -> Iterator[tuple[str, SweepPlan]]:
    """Yield the plans of all recipes, with the data of a sweep."""
    specs = [DataSpec.parse(job["train"]) for run in journal["runs"] for job in run["works"]]
    data = tuple(str(spec.without(*spec.options)) for spec in specs[:1])
    request = SweepRequest("laptop", journal["settings"]["protocol"], data)
    for recipe in RECIPES:
        for plan in read_recipe(recipe, request):
            yield recipe, plan


def add_figures(data: Path) -> None:
    """Add the rows of figures to stored results, also those of unfinished runs."""
    results = Results(data / RESULTS)
    journal = read_journal(data / JOURNAL)
    begun = {figure for run in journal["runs"] for figure in run["figures"]}
    for _, plan in plans(journal):
        if begun.issuperset(plan.figures):  # their run has the reductions
            results.put_figures(plan.figures, plan.points(results.measured))


def report(data: Path, journal: Mapping[str, Any]) -> str:
    """Return Markdown text on the sweep of one protocol."""
    protocol = journal["settings"]["protocol"]
    curves: Curves = {
        (curve.figure, curve.panel, curve.series): curve
        for curve in _with_complements(read_curves(data))
    }
    lines = [
        f"## {HEADINGS[protocol]}",
        "",
        *_progress(data, journal),
        "",
        "### Claims",
        "",
        *_claims(claims(curves, protocol)),
        *_pictures(data.parents[1], protocol),
    ]
    for figure, heading in SHOWN.items():
        if any(its_figure == figure for its_figure, _, _ in curves):
            lines += ["", f"### {heading}"]
            lines += _figure(figure, curves, protocol)
    return "\n".join(lines)


def _with_complements(curves: Iterable[WidthCurve]) -> Iterator[WidthCurve]:
    """Yield curves, those of units with their complements."""
    for curve in curves:
        yield curve
        if curve.panel in UNITS:
            yield curve.complement()


def _progress(data: Path, journal: Mapping[str, Any]) -> Iterator[str]:
    """Yield the number of finished networks of each recipe, and the times of networks."""
    measured = Results(data / RESULTS).measured
    recipes = list(plans(journal))
    names = {job.name for _, plan in recipes for job in plan.remaining_jobs([])[0]}
    count = len(names & {row["work"] for row in measured})
    if count < len(names):
        yield (
            f"The sweep is not finished: it has {count} of {len(names)} networks, and the results "
            "below are of these."
        )
        yield ""
    yield "| recipe | networks | of | networks at each width | minutes of those no row above has |"
    yield "|---|---|---|---|---|"
    seconds = _seconds(journal)
    for recipe, plan in recipes:
        remaining, done = plan.remaining_jobs(measured)
        jobs = plan.remaining_jobs([])[0]
        unfinished = {job.name for job in remaining}
        widths: dict[float, list[bool]] = {}
        for job in jobs:
            widths.setdefault(job.width, []).append(job.name not in unfinished)  # type: ignore[attr-defined]  # networks have widths
        shares = ", ".join(
            f"{fraction(width)}: {sum(each)} of {len(each)}" for width, each in widths.items()
        )
        minutes = sum(seconds.pop(job.name, 0.0) for job in jobs) / 60
        yield f"| `{recipe}` | {done} | {len(jobs)} | {shares} | {minutes:.0f} |"
    yield ""
    yield from _left_out([plan for _, plan in recipes], measured)
    yield from _times(journal)


def _left_out(recipes: Iterable[SweepPlan], measured: Sequence[Row]) -> Iterator[str]:
    """Yield a sentence on the networks that are not in figures, for they learned nothing."""
    rows: dict[str, list[Row]] = {}
    for row in measured:
        rows.setdefault(row["work"], []).append(row)
    names = {}
    for plan in recipes:
        least = plan.described["scale"]["least_train_accuracy"]
        for job in plan.remaining_jobs([])[0]:
            if isinstance(job, NetworkJob) and not has_learned(rows.get(job.name, ()), least):
                names[job.name] = f"{job.label} of width {fraction(job.width)}, seed {job.seed}"
    if names:
        yield (
            "Networks that learned nothing are left out of figures, tables and claims: "
            f"{'; '.join(names.values())}."
        )
        yield ""


def _seconds(journal: Mapping[str, Any]) -> dict[str, float]:
    """Return the time of each network, by the name of its settings."""
    return {
        settings_name({k: v for k, v in job.items() if k not in ("networks", "seconds")}): (
            job["seconds"]
        )
        for run in journal["runs"]
        for job in run["works"]
    }


def _times(journal: Mapping[str, Any]) -> Iterator[str]:
    """Yield the median time of a network by architecture and width."""
    seconds: dict[tuple[str, float], list[float]] = {}
    for run in journal["runs"]:
        for job in run["works"]:
            seconds.setdefault((job["architecture"], job["width"]), []).append(job["seconds"])
    total = sum(map(sum, seconds.values()))
    count = sum(map(len, seconds.values()))
    yield f"{count} networks were trained and measured in {total / 60:.0f} minutes."
    yield ""
    yield "| architecture | width | networks | median time of one, min |"
    yield "|---|---|---|---|"
    for (architecture, width), each in sorted(seconds.items()):
        minutes = f"{median(each) / 60:.1f}"
        yield f"| `{architecture}` | {fraction(width)} | {len(each)} | {minutes} |"


def _claims(stated: Sequence[Claim]) -> Iterator[str]:
    yield "| the paper's claim | its figure | here, with 95 % interval | verdict |"
    yield "|---|---|---|---|"
    for claim in stated:
        estimates = "; ".join(map(str, claim.estimates))
        yield f"| {claim.text} | {claim.figure} | {estimates} | **{claim.verdict}** |"


def _pictures(beside: Path, protocol: str) -> Iterator[str]:
    """Yield the pictures of the figures that are drawn in a folder."""
    offers = installed().offers("figures")
    for figure in DRAWN:
        place = f"figures/{protocol}/{figure}.svg"
        if (beside / place).is_file():
            yield ""
            caption = f"Figure {figure.replace('e', 'E')}: {offers[figure].summary}"
            yield f"![{LIKE_E12 if figure == 'e12' else caption}]({place})"


def _figure(figure: str, curves: Curves, protocol: str) -> Iterator[str]:
    file = files("frivkit_sweep_networks") / "targets.json"
    paper = json.loads(file.read_text(encoding="utf-8"))["figures"].get(figure, {})
    for panel in (*UNITS, *ACCURACIES):
        members = [c for (f, p, _), c in curves.items() if (f, p) == (figure, panel)]
        if members:
            yield ""
            yield f"#### {panel.capitalize()}" + (" units" if panel in UNITS else "")
            yield ""
            yield from _table(members, paper.get(panel, {}).get("series", {}), protocol)


def _table(members: Sequence[WidthCurve], paper: Mapping[str, Any], protocol: str) -> Iterator[str]:
    """Yield the table of a panel: values by width and, for units, the gains."""
    units = members[0].panel in UNITS
    heads = ["series", *map(fraction, members[0].widths)]
    heads += ["g", "g and 2"] if units else []
    heads += ["paper's g", "paper, widths 1/4 to 4"] if paper else []
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for curve in members:
        cells = [_share(trials) for trials in curve.values]
        if units:
            result = gain(curve, protocol)
            low, high = result.interval or (0.0, 0.0)
            value = "–" if math.isnan(result.value) else f"{result.value:.2f}"
            cells.append(value + (f" ({low:.2f} to {high:.2f})" if result.interval else ""))
            cells.append(compared_with_2(result.interval))
        if paper:
            printed = paper.get(curve.series.replace("ResNet20", "ResNet56"), {})
            cells.append(f"{printed['gain']:.2f}" if printed else "–")
            cells.append(
                " ".join("–" if s is None else f"{s:.2f}" for s in printed.get("shares", ()))
            )
        yield f"| {' | '.join([curve.series, *cells])} |"


def _share(trials: Sequence[float]) -> str:
    """Return the mean over seeds, with a deviation only if there are several."""
    if not trials:
        return "–"
    deviation = f" ± {pstdev(trials):.2f}" if len(trials) > 1 else ""
    return f"{fmean(trials):.2f}{deviation}"


def updated(page: str, data: Path) -> str:
    """Return a page with the text between its two comments replaced by the tables.

    Args:
        page: Its text.
        data: A folder with a folder of stored results for each protocol.

    Raises:
        DataError: the page lacks these comments, or the data cannot be read.
    """
    return updated_page(
        page, data, HEADINGS, lambda _, run: report(data / run["settings"]["protocol"], run)
    )


@click.command(cls=Program)
@click.argument("folders", metavar="[DIR]...", nargs=-1, type=click.Path(path_type=Path))
@click.argument("page", metavar="README", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def command(folders: tuple[Path, ...], page: Path) -> None:
    """Store the results of sweeps beside a page, and write its tables."""
    text, data = page.read_text(encoding="utf-8"), page.parent / "data"
    protocols = [_protocol(folder) for folder in folders]
    for folder, protocol in zip(folders, protocols, strict=True):
        # All rows, so that a sweep can resume there.
        store_results(folder, data / protocol, lambda _: True)
        add_figures(data / protocol)
    write_file(page, updated(text, data).encode())


def _protocol(folder: Path) -> str:
    """Return the protocol of a sweep that has networks of the page."""
    try:
        journal = read_journal(folder / JOURNAL)
        protocol = journal["settings"]["protocol"]
        names = {job.name for _, plan in plans(journal) for job in plan.remaining_jobs([])[0]}
        found = Results(folder / RESULTS, mend=False).measured
        if protocol in HEADINGS and names & {row["work"] for row in found}:
            return str(protocol)
        raise ValueError("it has no network of their recipes")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder} has no sweep of CIFAR-10 at the scale laptop ({error}); give the folder of "
            "one"
        ) from error


if __name__ == "__main__":
    main(None, command, "python -m frivkit_sweep_networks.reproduction")
