"""``frivkit figure``: draw a figure from the results of a sweep."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from frivkit.cli.completion import offers
from frivkit.cli.output import check_places
from frivkit.cli.progress import TerminalProgress
from frivkit.errors import DataError, UsageError
from frivkit.files import write_file
from frivkit.progress import stage

if TYPE_CHECKING:
    from frivkit.experiments.gain import WidthCurve


class _FigureCommand(click.Command):
    """A command whose help lists the available figures."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from frivkit.hooks.registry import installed

        with formatter.section("Figures"):
            offers = installed().offers("figures")
            formatter.write_dl([(name, offer.summary) for name, offer in offers.items()])
        super().format_epilog(ctx, formatter)


@click.command("figure", cls=_FigureCommand)
@click.argument("name", shell_complete=offers("figures"))
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File to write: .png, .svg or .pdf.",
)
@click.option(
    "--protocol",
    type=click.Choice(["paper", "reference"]),
    default="paper",
    show_default=True,
    help="How gains are averaged: by the paper's text, or by its published code.",
)
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def command(*, name: str, folder: Path, output: Path, protocol: str) -> None:
    """Draw the figure NAME from the results in DIR, and list the gains of a sweep.

    DIR is the folder of a sweep; for images of units, that of frivkit visualize.
    """
    from frivkit.experiments.figure import FORMATS, RESULTS, Figure, FolderFigure, read_curves
    from frivkit.hooks.registry import installed

    figure: Figure | FolderFigure = installed().load(
        "figures", name if ":" in name else name.lower()
    )
    kind = output.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise UsageError(f"{output} does not say its format; give a name in .png, .svg or .pdf")
    check_places(output)
    progress = TerminalProgress(hidden=False)
    if isinstance(figure, FolderFigure):
        with stage(progress, "drawing"):
            write_file(output, figure.draw(folder)(kind))
        click.echo(f"{output}: figure {name}")
        return
    with stage(progress, "reading results"):
        curves = read_curves(folder)
    chosen = figure.choose(curves)
    if not chosen:
        available = sorted({f"{curve.figure} ({curve.panel})" for curve in curves})
        raise DataError(
            f"{folder / RESULTS} has no rows for figure {name}, which shows "
            f"{_listed(figure.panels)} of the figures {_listed(figure.labels)}; "
            f"it has {', '.join(available) or 'none'}"
        )
    with stage(progress, "drawing"):
        write_file(output, figure.draw(chosen, protocol)(kind))
    click.echo("\n".join([f"{output}: figure {name}", *_gains(chosen, protocol)]))


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "any"


def _gains(curves: "list[WidthCurve]", protocol: str) -> list[str]:
    """Return a table of the gains, empty if no curve is a number of units against width."""
    from frivkit.experiments.gain import UNITS, shown_gain
    from frivkit.report.layout import columns

    rows = [("figure", "panel", "series", "g", "95 % interval")]
    for curve in curves:
        if curve.panel in UNITS:
            estimate = shown_gain(curve, protocol)
            ends = estimate.interval
            interval = f"{ends[0]:.2f} to {ends[1]:.2f}" if ends else "-"
            rows.append(
                (curve.figure, curve.panel, curve.series, f"{estimate.value:.2f}", interval)
            )
    if len(rows) == 1:
        return []
    return columns(rows, right=set(), names={2})
