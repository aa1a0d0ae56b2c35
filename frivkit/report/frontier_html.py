"""A frontier as one page that needs nothing else, in the style of an analysis."""

from collections.abc import Mapping
from typing import Any

from frivkit.report import tables
from frivkit.report.analysis_html import Card
from frivkit.report.figures import Chart, ReportFigure
from frivkit.report.format import file_name, number, percent, readable, span
from frivkit.report.frontier import (
    choice_table,
    data_sentence,
    measured_batches,
    overshoot_sentences,
    reach_sentence,
    recoveries_sentence,
)
from frivkit.report.frontier_chart import frontier_plot, percent_tick, plotted_plans
from frivkit.report.page import render


def frontier_page(document: Mapping[str, Any]) -> str:
    """Return a frontier as a page of HTML.

    Args:
        document: ``frivkit.frontier/1``, see ``docs/reference/json.md``.
    """
    shown = readable(document)
    head, *choices = choice_table(shown)
    left_out = [(f"{each['share']:g}", each["reason"]) for each in shown["left_out"]]
    return render(
        "frontier.html.j2",
        document,
        file=file_name(document["original"]["path"]),
        cards=_cards(shown),
        lead=[_answer(shown)],
        method=" ".join(filter(None, [data_sentence(shown), recoveries_sentence(shown)])),
        warnings=shown["warnings"],
        figures=[_figure(shown, batch) for batch in [*measured_batches(shown), None]],
        plans=tables.Table(*_plans(shown), "plans"),
        coarse=overshoot_sentences(shown),
        choices=tables.Table(tuple(head), [tuple(row) for row in choices], "choices"),
        reach=reach_sentence(shown) or "",
        left_out=tables.Table(("budget", "why"), left_out, "skipped"),
        provenance=_provenance(shown),
    )


def _best(shown: Mapping[str, Any]) -> tuple[float, Mapping[str, Any]] | None:
    """Return the largest agreement that a plan surely keeps, and the plan of the fewest MACs."""
    sure = [c for c in shown["choices"] if c["surely"] and c["cost"] == "macs" and c["plan"]]
    if not sure:
        return None
    best = max(sure, key=lambda choice: choice["agreement"])
    plan = next(plan for plan in shown["plans"] if plan["share"] == best["plan"])
    return best["agreement"], plan


def _cards(shown: Mapping[str, Any]) -> list[Card]:
    found = _best(shown)
    if found is None:
        return [Card(str(len(shown["plans"])), "plans")]
    agreement = found[1]["agreement"]
    interval = span(tuple(agreement["interval"]), percent)
    return [
        Card(percent(found[1]["left"]["macs"]), "of the multiply-accumulates are left"),
        Card(percent(agreement["labels"]), "of the labels agree", interval),
    ]


def _answer(shown: Mapping[str, Any]) -> str:
    """Return which plan to take, in a sentence."""
    found = _best(shown)
    count = f"{len(shown['plans'])} {'plan' if len(shown['plans']) == 1 else 'plans'}"
    if found is None:
        return f"Of {count} none surely keeps an agreement that is asked for."
    agreement, plan = found
    share = f"{plan['share']:g}"
    return (
        f"Of {count} the one of budget {share} surely keeps {percent_tick(agreement)} of the "
        f"labels or more, with {percent(plan['left']['macs'])} of the multiply-accumulates; the "
        "table below has the plan for each agreement."
    )


def _figure(shown: Mapping[str, Any], batch: str | None) -> ReportFigure:
    """Return the chart of agreement against the latency at a batch size, or against MACs."""
    cost = "multiply-accumulates" if batch is None else f"latency at batch {batch}"
    plotted, held_out = plotted_plans(shown, batch), shown["held_out"]
    labels = held_out["examples"] * held_out["positions"]
    label = f"Label agreement of {len(plotted)} plans against what they keep of the {cost}."
    cells = tuple(
        (
            point.name,
            percent(point.cost[1]),
            "" if batch is None else span((point.cost[0], point.cost[2]), percent),
            percent(point.agreement),
            span(point.interval, percent),
            "yes" if point.dominated else "",
        )
        for point in plotted
    )
    columns = ("budget", f"{cost} left", "quartiles", "agreement", "95 % interval", "dominated")
    caption = (
        f"Labels that agree with the original's, against the share of the {cost} that is left; "
        "bars are 95 % intervals and quartiles. A plan is hollow if another agrees as often or "
        "more and costs no more. The axis of agreement is logarithmic in the share of labels that "
        "differ."
    )
    chart = Chart(frontier_plot(plotted, f"{cost} left", label, labels))
    return ReportFigure(caption, (chart,), columns, cells, "points")


def _plans(shown: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the head and the rows of the table of plans."""
    batches = measured_batches(shown)
    times = (f"ms, batch {batch}" for batch in batches)
    head = ("budget", "MACs", "parameters", "units", "predicted error", *times, "file")
    rows = [
        (
            f"{plan['share']:g}",
            *(percent(plan["left"][key]) for key in ("macs", "params", "units")),
            number(plan["predicted_error"]),
            *(
                f"{number(plan['latency'][batch]['ms'])} ({plan['latency'][batch]['verdict']})"
                for batch in batches
            ),
            "" if plan["path"] is None else file_name(plan["path"]),
        )
        for plan in shown["plans"]
    ]
    if not any(row[-1] for row in rows):
        return head[:-1], [row[:-1] for row in rows]
    return head, rows


def _provenance(shown: Mapping[str, Any]) -> tables.FactList:
    """Return the origin of the plans."""
    return tables.provenance_facts(
        {
            "provenance": shown["provenance"],
            "model": shown["original"],
            "data": {"sha256": shown["calibration"]["sha256"]},
        }
    )
