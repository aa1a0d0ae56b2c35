"""``frivkit compress --frontier``: plans of several sizes, compared."""

import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frivkit.cli.options import CommonOptions
from frivkit.cli.output import check_places, write_json, write_text
from frivkit.cli.terminal import show
from frivkit.errors import UsageError

if TYPE_CHECKING:
    from frivkit.compression.compress import Compressor
    from frivkit.compression.frontier import Frontier, FrontierPoint
    from frivkit.measure.pipeline import Request
    from frivkit.provenance import Clock

PLACE = "{budget}"
"""What stands for the budget of a plan in the names of files."""
TAKEN = ("macs", "agreement")
"""The budgets that mean something to a frontier."""


@dataclass(frozen=True, slots=True)
class FrontierRequest:
    """What is requested of a frontier.

    Attributes:
        shares: The shares of the multiply-accumulates; None takes the usual ones.
        agreements: The agreements for which a plan is named; None takes the usual ones.
        batches: The batch sizes at which plans are timed; empty to time nothing.
    """

    shares: tuple[float, ...] | None
    agreements: tuple[float, ...] | None
    batches: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FrontierFiles:
    """Where the results of a frontier go, None for those that are not written.

    Attributes:
        model: The models, one for each plan.
        plan: The plans, likewise.
        json: The document.
        report: The page.
        figure: The picture.
    """

    model: Path | None
    plan: Path | None
    json: str | None
    report: Path | None
    figure: Path | None

    def check(self, model: Path, shares: Iterable[float]) -> None:
        """Raise an error, before any work, if a result could not be written.

        Args:
            model: The file that is read.
            shares: The budgets that are tried, as far as they are known.

        Raises:
            UsageError: a name does not say where the budget goes, or does not fit.
            FrivkitError: a folder is missing or cannot be written to.
        """
        for place in filter(None, (self.model, self.plan)):
            if PLACE not in place.name:
                raise UsageError(
                    f"the plans of a frontier cannot all be written to {place}; put {PLACE} into "
                    "its name"
                )
        if self.model is not None and self.model.suffix != ".onnx":
            raise UsageError(f"an ONNX file cannot be named {self.model.name}; end it in .onnx")
        if self.figure is not None and self.figure.suffix.lower() != ".svg":
            raise UsageError(f"{self.figure} is no name for a picture; end it in .svg")
        check_places(*(getattr(self, field.name) for field in fields(self)), model=model)
        for share in shares:
            check_places(named(self.model, share), named(self.plan, share), model=model)


def check_options(
    shares: Mapping[str, tuple[float, ...] | None],
    plan_file: Path | None,
    flags: Mapping[str, bool],
) -> None:
    """Raise an error if an option beside ``--frontier`` means nothing there.

    Args:
        shares: The budgets by the names of their arguments.
        plan_file: A plan that is given.
        flags: Whether other options are given that a frontier does not take, by their names.

    Raises:
        UsageError: there is such an option.
    """
    others = [key for key, value in shares.items() if value is not None and key not in TAKEN]
    given = [f"--{key.replace('_', '-')}" for key in others]
    given += ["--plan"] if plan_file is not None else []
    given += [name for name, flag in flags.items() if flag]
    if given:
        raise UsageError(
            f"{' and '.join(given)} cannot be given with --frontier, which takes shares of --macs "
            "and writes no model without -o; leave out one"
        )


def run_frontier(
    common: CommonOptions,
    opened: "Callable[[], Compressor]",
    request: "Request",
    clock: "Clock",
    *,
    requested: FrontierRequest,
    files: FrontierFiles,
) -> None:
    """Compare plans of several sizes, write what is requested, and show the table.

    Args:
        common: The shared options.
        opened: Opens and calibrates the model.
        request: The model and the data.
        clock: The start of the command.
        requested: The shares, agreements and batch sizes.
        files: Where the results go.

    Raises:
        UsageError: a name of a file does not fit.
        FrivkitError: a file cannot be written.
    """
    from frivkit.compression.frontier import SHARES, frontier
    from frivkit.compression.latency_search import Timing
    from frivkit.report.frontier import AGREEMENTS, frontier_document

    files.check(Path(str(request.model)), requested.shares or SHARES)

    def told(point: "FrontierPoint") -> None:
        common.info_if_verbose(f"{point.share:g}: {point.agreement.share:.4f} of the labels agree")

    try:
        with redirect_stdout(sys.stderr):  # stdout is for results, whatever a plugin prints
            found = frontier(
                opened(),
                requested.shares,
                timings=[Timing(batch, common.threads) for batch in requested.batches],
                output=lambda share: named(files.model, share),
                done=told,
            )
    finally:
        request.execution.progress.finish()
    if found.calibration.reused:
        common.info_if_verbose("the calibration is reused from the cache")
    document = frontier_document(found, request, clock, requested.agreements or AGREEMENTS)
    for warning in document["warnings"]:
        common.info(f"warning: {warning}")
    _show(found, document, files)


def named(place: Path | None, share: float) -> Path | None:
    """Return the file of one plan, whose share stands in its name; None if none is requested.

    Example:
        >>> named(Path("thin-{budget}.onnx"), 0.5).name
        'thin-0.5.onnx'
    """
    return place and place.with_name(place.name.replace(PLACE, f"{share:g}"))


def _show(found: "Frontier", document: Mapping[str, Any], files: FrontierFiles) -> None:
    """Write the results to their files, and show the table."""
    from frivkit.compression.plan_file import plan_document, write_plan
    from frivkit.report.frontier import frontier_text

    try:
        for point in found.points:
            place = named(files.plan, point.share)
            if place is not None:
                write_plan(plan_document(found.calibration, point.plan), place)
        if files.json and files.json != "-":
            write_json(document, files.json)
        if files.report is not None:
            from frivkit.report.frontier_html import frontier_page

            write_text(files.report, frontier_page(document))
        if files.figure is not None:
            from frivkit.report.frontier_chart import frontier_figure

            write_text(files.figure, frontier_figure(document))
    finally:  # the result is shown even if a file cannot be written
        if files.json == "-":
            write_json(document, files.json)
        else:
            show(frontier_text(document))
