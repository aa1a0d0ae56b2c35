"""``frivkit compress``: write a smaller model, and verify it against the original."""

import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from frivkit.cli.options import CommonOptions, model_options
from frivkit.cli.output import check_places, write_json, write_text
from frivkit.errors import UsageError

if TYPE_CHECKING:
    from frivkit.compression.compress import Budget, Kind

SHARE = click.FloatRange(0, 1, min_open=True)
BUDGETS: dict["Kind", str] = {
    "tolerance": "--tolerance",
    "agreement": "--agreement",
    "macs": "--macs",
    "params": "--params",
    "units": "--units-kept",
}


@click.command("compress")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="SMALLER.onnx",
    help="File to write.",
)
@click.option("--data", metavar="SPEC", help="Data to calibrate on, NAME[:PATH][?key=value&...].")
@click.option(
    "--verify-data", metavar="SPEC", help="Data to verify on [one in four examples of --data]."
)
@click.option(
    "--tolerance", type=SHARE, help="Share of variance that the consumers of a layer may lose."
)
@click.option("--agreement", type=SHARE, help="Label agreement to keep, such as 0.98.")
@click.option("--macs", type=SHARE, help="Share of multiply-accumulates to keep, such as 0.5.")
@click.option("--params", type=SHARE, help="Share of parameters to keep.")
@click.option("--units-kept", type=SHARE, help="Share of units to keep.")
@click.option(
    "--basis",
    default="select",
    show_default=True,
    help="Basis of a layer: select (keep some units) or pca (factorize its consumers).",
)
@click.option(
    "--ranking",
    default="backward",
    show_default=True,
    help="In which order units are removed; see 'frivkit plugins'.",
)
@click.option(
    "--refit",
    default="sequential",
    show_default=True,
    help="How consumers compensate removed units; see 'frivkit plugins'.",
)
@click.option(
    "--allocation",
    type=click.Choice(["global", "uniform"]),
    default="global",
    show_default=True,
    help="Remove the cheapest unit of all layers next (global), or from all layers alike.",
)
@click.option(
    "--round-to",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Round the width of each layer up to a multiple, such as 8.",
)
@click.option(
    "--dry-run", is_flag=True, help="Show which units would be removed, and write no model."
)
@click.option(
    "--examples", type=click.IntRange(1, 2**63 - 1), help="Largest number of examples to use."
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--json", "json_to", help="Write JSON to a file, or to stdout for '-'.")
@click.option(
    "--report", type=click.Path(path_type=Path, dir_okay=False), help="Write an HTML page."
)
@model_options
def command(
    *,
    common: CommonOptions,
    model: Path,
    output: Path | None,
    data: str | None,
    verify_data: str | None,
    tolerance: float | None,
    agreement: float | None,
    macs: float | None,
    params: float | None,
    units_kept: float | None,
    basis: str,
    ranking: str,
    refit: str,
    allocation: Literal["global", "uniform"],
    round_to: int,
    dry_run: bool,
    examples: int | None,
    seed: int,
    json_to: str | None,
    report: Path | None,
) -> None:
    """Remove units from MODEL until it fits a budget, and verify the result.

    Give exactly one budget: --macs, --params, --units-kept, --tolerance or --agreement.  The
    consumers of removed units are refitted to the kept ones on --data, which need no labels.  The
    label agreement with MODEL is measured on other examples.
    """
    from frivkit.compression.compress import compress
    from frivkit.compression.method import Method
    from frivkit.provenance import Clock
    from frivkit.report.compression import compression_document, compression_text

    clock = Clock.start()
    budget = replace(_budget(tolerance, agreement, macs, params, units_kept), multiple=round_to)
    target = _target(output, dry_run=dry_run)
    check_places(target, json_to, report, model=model)
    progress = common.progress()
    request = common.request(model, progress, data=data, examples=examples, seed=seed)
    try:
        with redirect_stdout(sys.stderr):  # stdout is for results, whatever a plugin prints
            compression = compress(
                request,
                target,
                budget,
                verify_data=verify_data,
                method=Method(basis, ranking, refit, allocation),
            )
    finally:
        progress.finish()
    document = compression_document(compression, request, budget, clock)
    for warning in document["warnings"]:
        common.info(f"warning: {warning}")
    try:
        if json_to and json_to != "-":
            write_json(document, json_to)
        if report is not None:
            from frivkit.report.compression_html import compression_page

            write_text(report, compression_page(document))
    finally:  # the result is shown even if a file cannot be written
        if json_to == "-":
            write_json(document, json_to)
        else:
            click.echo(compression_text(document))


def _budget(
    tolerance: float | None,
    agreement: float | None,
    macs: float | None,
    params: float | None,
    units: float | None,
) -> "Budget":
    """Return the requested budget.

    Raises:
        UsageError: there is none, or more than one, or its share is out of range.
    """
    from frivkit.compression.compress import one_budget

    return one_budget(
        {
            "tolerance": tolerance,
            "agreement": agreement,
            "macs": macs,
            "params": params,
            "units": units,
        },
        BUDGETS,
    )


def _target(output: Path | None, *, dry_run: bool) -> Path | None:
    """Return the file to write, None under ``--dry-run``.

    Raises:
        UsageError: there is no name, or it is not that of an ONNX file.
    """
    if dry_run:
        return None
    if output is None:
        raise UsageError("no file to write is given; give -o SMALLER.onnx, or --dry-run")
    if output.suffix != ".onnx":
        raise UsageError(
            f"an ONNX file cannot be named {output.name}; name it {output.stem or 'smaller'}.onnx"
        )
    return output
