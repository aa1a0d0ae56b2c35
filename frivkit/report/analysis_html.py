"""An analysis as one self-contained page: the answer, a map of the network, tables and charts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from frivkit.report import tables
from frivkit.report.distributions import distribution_figures
from frivkit.report.figures import SHARES_OF_UNITS, ReportFigure, Section
from frivkit.report.format import file_name, readable
from frivkit.report.layer_table import analysed_layers
from frivkit.report.map_faces import SHARES, analysis_map
from frivkit.report.page import render
from frivkit.report.reasons import reasons
from frivkit.report.unit_table import unit_tables

MOST_UNITS = 512
"""Units of a layer in its table; the CSV file has the rest."""
ALL_UNITS = 4096
"""Units in all tables together; layers share them alike."""
LEAST_UNITS = 16
"""Units that each table shows at least."""


@dataclass(frozen=True, slots=True)
class Card:
    """A number that answers the question, at the head of a page.

    Attributes:
        value: The number.
        what: What it is the number of.
        interval: Its interval, empty if there is none.
        css: A class, by which it is coloured.
        kind: What interval it is.
    """

    value: str
    what: str
    interval: str = ""
    css: str = ""
    kind: str = "95 % interval"


def analysis_page(document: Mapping[str, Any]) -> str:
    """Return an analysis as a page of HTML.

    Names in the document come from model files and are not trusted: the template and ElementTree
    escape them, invisible characters are written as escapes, and the page's content security
    policy allows its own script and style only, and no requests.

    Args:
        document: ``frivkit.analysis/1``, see ``docs/reference/json.md``.
    """
    shown = readable(document)
    metrics = dict.fromkeys(row["metric"] for row in shown["measurements"])
    sections = [Section.of(metric, shown["measurements"]) for metric in metrics]
    main = next((section for section in sections if section.ablates), None)
    main = main or next(iter(sections), None)
    network = analysis_map(shown)
    units = unit_tables(shown)
    most = min(MOST_UNITS, max(LEAST_UNITS, ALL_UNITS // max(1, len(units))))
    figures = [figures_of(section) for section in sections]
    return render(
        "analysis.html.j2",
        document,
        file=file_name(document["model"]["path"]),
        sections=list(zip(sections, figures, strict=True)),
        nav=[(f"metric-{i}", section.metric) for i, section in enumerate(sections, start=1)],
        cards=_cards(sections),
        lead=_answers(main, sections),
        method=_method(main, sections, shown["data"]),
        map=network,
        layers=analysed_layers(shown, sections, {} if network is None else network.boxes),
        warnings=[*shown["data"]["warnings"], *shown["warnings"]],
        model=tables.model_facts(shown),
        data=tables.data_facts(shown["data"]),
        provenance=tables.provenance_facts(shown),
        units=[tables.units_of(table, most) for table in units],
        measurements=tables.measurement_table(sections),
        skipped=reasons(shown["skipped"]),
    )


def figures_of(section: Section) -> list[ReportFigure]:
    """Return all figures of a metric."""
    return [*section.figures, *distribution_figures(section)]


def _cards(sections: Sequence[Section]) -> list[Card]:
    """Return the values of the network, a card for each metric."""
    words = {**SHARES, **SHARES_OF_UNITS}
    cards = []
    for section in sections:
        row = section.network
        if row is not None:
            word = words.get(section.metric)
            what = f"of the units are {word}" if word else f"{section.metric} of the network"
            what += ", mean of the layers" if section.metric in SHARES_OF_UNITS else ""
            show = section.show(row["value"])
            cards.append(Card(show, what, section.interval(row), word or ""))
    return cards


def _answers(main: Section | None, sections: Sequence[Section]) -> list[str]:
    """Return the main result of the first metrics, a sentence each."""
    ordered = sorted(sections, key=lambda section: section is not main)
    return [sentence for section in ordered[:2] for sentence in section.verdict[:1]]


def _method(main: Section | None, sections: Sequence[Section], data: Mapping[str, Any]) -> str:
    """Return how the result was found, in a sentence."""
    on = f"{tables.grouped(data['examples'])} examples of {data['spec']}"
    if main is not None and main.ablates:
        return (
            "The network was perturbed at random, more and more, and its labels for "
            f"{on} were compared with those of the unperturbed network."
        )
    names = ", ".join(Counter(section.metric for section in sections))
    return f"This was measured on {on}: {names}." if names else f"Nothing was measured on {on}."
