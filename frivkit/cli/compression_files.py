"""Where the results of ``frivkit compress`` go, and writing and showing them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from frivkit.cli.options import CommonOptions
from frivkit.cli.output import write_json, write_text
from frivkit.cli.terminal import show
from frivkit.errors import UsageError

if TYPE_CHECKING:
    from frivkit.compression.budget import Budget
    from frivkit.compression.compress import Compression
    from frivkit.measure.pipeline import Request
    from frivkit.provenance import Clock

PLACE = "{budget}"
"""What stands for the budget in the names of files, if several budgets are given."""


@dataclass(frozen=True, slots=True)
class CompressionFiles:
    """Where the results for one budget go."""

    model: Path | None
    json: str | None
    report: Path | None
    plan: Path | None
    nodes: Path | None

    def for_budget(self, budget: "Budget", count: int) -> "CompressionFiles":
        """Return the files of one of several budgets, whose share stands in their names.

        Raises:
            UsageError: a name does not say where the budget goes, and there are several.
        """
        if count == 1:
            return self
        for place in filter(None, self.places):
            if PLACE not in str(place):
                raise UsageError(
                    f"{count} budgets cannot all be written to {place}; put {PLACE} into its name"
                )

        def named(place: Path | None) -> Path | None:
            return place and Path(str(place).replace(PLACE, f"{budget.share:g}"))

        json_to = self.json and self.json.replace(PLACE, f"{budget.share:g}")
        report, plan, nodes = named(self.report), named(self.plan), named(self.nodes)
        return CompressionFiles(named(self.model), json_to, report, plan, nodes)

    @property
    def int8_model(self) -> Path | None:
        """The int8 file beside the compressed model; None if no model is written."""
        from frivkit.quantization import int8_path

        return None if self.model is None else int8_path(self.model)

    @property
    def places(self) -> tuple[Path | str | None, ...]:
        """All files."""
        return self.model, self.json, self.report, self.plan, self.nodes


def show_compression(
    common: CommonOptions,
    compression: "Compression",
    request: "Request",
    clock: "Clock",
    places: CompressionFiles,
) -> None:
    """Write the results of one budget to their files, and show them."""
    from frivkit.compression.plan_file import plan_document, write_plan
    from frivkit.report.compression import compression_document
    from frivkit.report.compression_text import compression_text

    document = compression_document(compression, request, clock)
    for warning in document["warnings"]:
        common.info(f"warning: {warning}")
    try:
        if places.plan is not None:
            write_plan(plan_document(compression.calibration, compression.plan), places.plan)
        if places.json and places.json != "-":
            write_json(document, places.json)
        if places.report is not None:
            from frivkit.report.compression_html import compression_page

            write_text(places.report, compression_page(document))
        if places.nodes is not None:
            _write_node_data(compression, places.nodes)
    finally:  # the result is shown even if a file cannot be written
        if places.json == "-":
            write_json(document, places.json)
        else:
            show(compression_text(document))


def _write_node_data(compression: "Compression", place: Path) -> None:
    from frivkit.compression.plan import units_left
    from frivkit.report.node_data import node_data

    calibration, plan = compression.calibration, compression.plan
    kept = {site.layer: units_left(plan, site) / site.width for site in calibration.site_map.sites}
    document = node_data(calibration.model, calibration.site_map, kept, "units kept", shares=True)
    write_json(document, str(place))
