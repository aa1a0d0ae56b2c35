"""Results as a piece of HTML for a notebook: the tables of the report, without its page."""

from collections.abc import Mapping, Sequence
from typing import Any

from frivkit.report import tables
from frivkit.report.comparison import answers, comparison_cells
from frivkit.report.figures import NAME, Section
from frivkit.report.format import file_name, percent, readable, short, span
from frivkit.report.frontier import choice_table, measured_batches, time_cell
from frivkit.report.page import environment
from frivkit.report.verification import savings
from frivkit.report.width_advice import KINDS, layer_cells, network_cells


def fragment(title: str, lead: str, warnings: Sequence[str], shown: Sequence[tables.Table]) -> str:
    """Return a heading, a sentence, warnings and tables as HTML; every text is escaped."""
    template = environment().get_template("notebook.html.j2")
    return template.render(title=title, lead=lead, warnings=warnings, tables=shown)


def analysis_fragment(document: Mapping[str, Any]) -> str:
    """Return an analysis: its measurements.

    Args:
        document: ``frivkit.analysis/1``, see ``docs/reference/json.md``.
    """
    shown = readable(document)
    metrics = dict.fromkeys(row["metric"] for row in shown["measurements"])
    sections = [Section.of(metric, shown["measurements"]) for metric in metrics]
    data = shown["data"]
    return fragment(
        file_name(document["model"]["path"]),
        f"{tables.grouped(data['examples'])} examples of {data['spec']}",
        [*data["warnings"], *shown["warnings"]],
        [tables.measurement_table(sections)],
    )


def inspection_fragment(document: Mapping[str, Any]) -> str:
    """Return an inspection: layers, and nodes that are not analysed.

    Args:
        document: ``frivkit.inspection/1``, see ``docs/reference/json.md``.
    """
    shown = readable(document)
    model = shown["model"]
    lead = f"{tables.grouped(model['parameters'])} parameters, {tables.grouped(model['macs'])} MACs"
    skipped = [tables.skipped_table(shown["skipped"])] if shown["skipped"] else []
    layers = tables.site_table(shown["sites"])
    return fragment(file_name(document["model"]["path"]), lead, [], [layers, *skipped])


def verification_fragment(document: Mapping[str, Any]) -> str:
    """Return a verification: agreement, and what the models cost.

    Args:
        document: ``frivkit.verification/1``, see ``docs/reference/json.md``.
    """
    shown = readable(document)
    return fragment(
        file_name(document["thin"]["path"]),
        agreement_sentence(shown),
        shown["warnings"],
        [_costs(shown)],
    )


def compression_fragment(document: Mapping[str, Any]) -> str:
    """Return a compression: agreement, what the models cost, and the layers' widths.

    Args:
        document: ``frivkit.compression/1``, see ``docs/reference/json.md``.
    """
    shown = readable(document)
    planned = document["thin"] is None
    rows = [
        (short(each["layer"], NAME), str(each["units_before"]), str(each["units_after"]))
        for each in shown["layers"]
    ]
    widths = tables.Table(("layer", "units before", "units after"), rows, "layers")
    return fragment(
        file_name(document["original" if planned else "thin"]["path"]),
        "a plan: no file was written" if planned else agreement_sentence(shown),
        shown["warnings"],
        [widths] if planned else [_costs(shown), widths],
    )


def frontier_fragment(document: Mapping[str, Any]) -> str:
    """Return a frontier: the plans, and which of them to take.

    Args:
        document: ``frivkit.frontier/1``, see ``docs/reference/json.md``.
    """
    shown = readable(document)
    batches = measured_batches(shown)
    rows = [
        (
            f"{plan['share']:g}",
            *(percent(plan["left"][resource]) for resource in ("macs", "params", "units")),
            percent(plan["agreement"]["labels"]),
            span(tuple(plan["agreement"]["interval"]), percent),
            *(time_cell(plan["latency"][batch]) for batch in batches),
        )
        for plan in shown["plans"]
    ]
    columns = ("budget", "MACs", "parameters", "units", "agreement", "95 % interval")
    times = tuple(f"time, batch {batch}" for batch in batches)
    head, *choices = choice_table(shown)
    return fragment(
        file_name(document["original"]["path"]),
        f"{len(rows)} plans, shares of the original",
        shown["warnings"],
        [
            tables.Table((*columns, *times), rows, "plans"),
            tables.Table(tuple(head), [tuple(row) for row in choices], "choices"),
        ],
    )


def advice_fragment(document: Mapping[str, Any]) -> str:
    """Return an advice on width: its sentences, and the gains of each kind.

    Args:
        document: ``frivkit.advice/1``, see ``docs/reference/json.md``.
    """
    shown = readable(document)
    head, *networks = network_cells(shown)
    shown_tables = [tables.Table(tuple(head), [tuple(row) for row in networks], "panel-points")]
    for kind in KINDS:
        head, *rows = layer_cells(shown, kind)
        shown_tables.append(tables.Table(tuple(head), [tuple(row) for row in rows], "panel-points"))
    title = f"Width of {file_name(shown['models'][-1]['path'])}"
    return fragment(title, " ".join(shown["advice"]), shown["warnings"], shown_tables)


def comparison_fragment(document: Mapping[str, Any]) -> str:
    """Return a comparison: its sentences, and a table for each metric.

    Args:
        document: ``frivkit.comparison/1``, see ``docs/reference/json.md``.
    """
    shown = readable(document)
    shown_tables = []
    for metric in shown["metrics"]:
        head, *rows = comparison_cells(shown, metric)
        head[0] = metric["metric"]
        shown_tables.append(tables.Table(tuple(head), [tuple(row) for row in rows], "panel-points"))
    labels = ", ".join(analysis["label"] for analysis in shown["analyses"])
    return fragment(labels, " ".join(answers(shown)), shown["warnings"], shown_tables)


def agreement_sentence(document: Mapping[str, Any]) -> str:
    """Return the agreement of two models with its interval.

    Example:
        >>> labels = {"labels": 0.98, "interval": [0.97, 0.99], "examples": 500}
        >>> agreement_sentence({"agreement": labels}).replace("\N{NO-BREAK SPACE}", " ")
        'label agreement 98.0 % (97.0 % to 99.0 %) on 500 examples'
    """
    agreement = document["agreement"]
    interval = span(agreement["interval"], percent)
    compares = agreement.get("compares", "labels")
    what = "label agreement" if compares == "labels" else f"agreement of {compares}"
    return (
        f"{what} {percent(agreement['labels'])} ({interval}) on "
        f"{tables.grouped(agreement['examples'])} examples"
    )


def _costs(shown: Mapping[str, Any]) -> tables.Table:
    columns = ("", "original", "compressed", "ratio")
    return tables.Table(columns, savings(shown), "savings")
