"""An analysis as one self-contained page: no scripts, no requests, inline charts."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from frivkit.report import tables
from frivkit.report.figures import NAME, Section
from frivkit.report.format import file_name, readable, short
from frivkit.report.unit_table import unit_tables

MOST_ROWS = 1000
"""Rows of a table; the JSON document has the rest."""
MOST_UNITS = 512
"""Units of a layer in its table; the CSV file has the rest."""
PANEL = 36
"""Characters of a layer's name above a small chart."""


def analysis_page(document: Mapping[str, Any]) -> str:
    """Return an analysis as a page of HTML.

    Names in the document come from model files and are not trusted: the template and ElementTree
    escape them, invisible characters are written as escapes, and the page's content security
    policy allows neither scripts nor requests.

    Args:
        document: ``frivkit.analysis/1``, see ``docs/json.md``.
    """
    shown = readable(document)
    metrics = dict.fromkeys(row["metric"] for row in shown["measurements"])
    sections = [Section.of(metric, shown["measurements"]) for metric in metrics]
    main = next((section for section in sections if section.ablates), None)
    return (
        environment()
        .get_template("analysis.html.j2")
        .render(
            file=file_name(document["model"]["path"]),
            sections=sections,
            main=main or next(iter(sections), None),
            lead=_lead(main, sections, shown["data"]),
            warnings=[*shown["data"]["warnings"], *shown["warnings"]],
            model=tables.model_facts(shown),
            data=tables.data_facts(shown["data"]),
            provenance=tables.provenance_facts(shown),
            units=[tables.units_of(table, MOST_UNITS) for table in unit_tables(shown)],
            measurements=tables.measurement_table(sections),
            sites=tables.site_table(shown["sites"]),
            skipped=tables.skipped_table(shown["skipped"]),
        )
    )


def _lead(main: Section | None, sections: list[Section], data: Mapping[str, Any]) -> list[str]:
    """Return the measurement and its main result, in two sentences."""
    on = f"{tables.grouped(data['examples'])} examples of {data['spec']}"
    if main is not None:
        measured = (
            "The network was perturbed at random, more and more, and its labels for "
            f"{on} were compared with those of the unperturbed network."
        )
        return [measured, *main.verdict[:1]]
    if sections:
        names = ", ".join(section.metric for section in sections)
        return [f"This was measured on {on}: {names}.", *sections[0].verdict[:1]]
    return [f"Nothing was measured on {on}."]


@cache
def environment() -> Environment:
    """Return the template environment: texts are escaped, names shortened, digits grouped."""
    folder = files("frivkit.report")
    environment = Environment(
        loader=FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["name"] = lambda text: short(text, NAME)
    environment.filters["panel"] = lambda text: short(text, PANEL)
    environment.filters["plain"] = tables.plain
    environment.filters["grouped"] = tables.grouped
    environment.globals["most_rows"] = MOST_ROWS
    return environment
