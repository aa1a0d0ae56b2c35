"""A compression, or a verification, as one page that needs nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

from frivkit.report import tables
from frivkit.report.analysis_html import Card
from frivkit.report.budget_path import ELSEWHERE, path_figure
from frivkit.report.chart import Bar, bar_plot, column_plot
from frivkit.report.compression_text import (
    RESOURCES,
    calibration_sentence,
    describe_kinds,
    overshoot_sentence,
)
from frivkit.report.figures import MOST_BARS, NAME, Chart, ReportFigure
from frivkit.report.format import file_name, number, percent, readable, short, span
from frivkit.report.layer_table import compressed_layers
from frivkit.report.map_faces import compression_map
from frivkit.report.page import render
from frivkit.report.reasons import reasons
from frivkit.report.recovery import recovery_sentence
from frivkit.report.scale import Scale
from frivkit.report.verification import doubt_lines, savings, sentences, speed_lines

PLANNED = "This is a plan: no model was written, so nothing is known of its labels."
LEFT = {"macs": "multiply-accumulates", "params": "parameters", "units": "units"}


def compression_page(document: Mapping[str, Any]) -> str:
    """Return a compression as a page of HTML.

    Args:
        document: ``frivkit.compression/1``, see ``docs/reference/json.md``.
    """
    shown = readable(document)
    left = shown["budget"]["left"]
    what = shown["budget"]["kind"]
    if what not in RESOURCES:
        what = "params" if left["macs"] is None else "macs"
    planned = document["thin"] is None
    coarse = [sentence] if (sentence := overshoot_sentence(shown)) else []
    recovered = [recovery_sentence(shown["recovery"])] if shown.get("recovery") else []
    cards = [*_time_card(shown), Card(percent(left[what]), f"of the {LEFT[what]} are left")]
    return _page(
        document,
        file=file_name(document["original" if planned else "thin"]["path"]),
        title="compressed",
        command="compression",
        cards=cards if planned else [*cards, _agreement(shown)],
        lead=[*([PLANNED] if planned else _answer(shown)), *coarse],
        method=[calibration_sentence(shown), *recovered],
        kinds=describe_kinds(shown["kinds"]) if shown["kinds"]["leaving"] else "",
        path=path_figure(shown),
        elsewhere=ELSEWHERE,
        split=_split(shown["factors"]),
        dropped=_dropped(shown["dropped_branches"]),
        refits=_refits(shown["refits"]),
        whole_title="Not compressed",
        nothing_whole="Units can be removed from every layer.",
        provenance=_provenance(shown, shown["calibration"]["sha256"]),
    )


def verification_page(document: Mapping[str, Any]) -> str:
    """Return a verification as a page of HTML.

    Args:
        document: ``frivkit.verification/1``, see ``docs/reference/json.md``.
    """
    shown = readable(document)
    return _page(
        document,
        file=file_name(document["thin"]["path"]),
        title="verified",
        command="verification",
        cards=[_agreement(shown)],
        lead=_answer(shown),
        method=[f"It was compared with {file_name(document['original']['path'])}."],
        kinds="",
        path=None,
        elsewhere="",
        split=_split([]),
        dropped=None,
        refits=None,
        whole_title="Layers of the original that are not found",
        nothing_whole="Every layer of the original has one of its name.",
        provenance=_provenance(shown, shown["agreement"]["data_sha256"]),
    )


def _page(document: Mapping[str, Any], **values: Any) -> str:
    """Return a page on two models, with all that both kinds of documents have."""
    shown = readable(document)
    network = compression_map(shown)
    compared = document["thin"] is not None
    parts = [("savings", "Before and after")] if compared else []
    parts += [("budgets", "Other budgets")] if values["elsewhere"] else []
    parts += [("map", "Map")] if network else []
    parts += [("layers", "Layers"), ("skipped", values["whole_title"])]
    parts += [("refits", "New weights")] if values["refits"] else []
    return render(
        "compression.html.j2",
        document,
        map=network,
        nav=[*parts, ("provenance", "Provenance")],
        costs=_costs(shown) if compared else None,
        savings=tables.Table(
            ("", "original", "compressed", "ratio"), savings(shown) if compared else [], "savings"
        ),
        layers=compressed_layers(shown, {} if network is None else network.boxes),
        figure=_figure(shown["layers"]),
        skipped=reasons(shown["skipped"]),
        warnings=shown["warnings"],
        **values,
    )


def _time_card(shown: Mapping[str, Any]) -> list[Card]:
    """Return the measured share of the time if that was the budget."""
    timing = shown["timing"]
    ratios = (shown["latency"] or {"ratio": {}})["ratio"]
    ratio = None if timing is None else ratios.get(str(timing["batch"]))
    if ratio is None:
        return []
    low, middle, high = ratio
    words = f"of the time at batch {timing['batch']}"
    return [Card(percent(middle), words, span((low, high), percent), kind="quartiles")]


def _agreement(shown: Mapping[str, Any]) -> Card:
    """Return the agreement of both models with its interval."""
    agreement = shown["agreement"]
    interval = span(agreement["interval"], percent)
    return Card(percent(agreement["labels"]), f"of the {agreement['compares']} agree", interval)


def _answer(shown: Mapping[str, Any]) -> list[str]:
    """Return the result in sentences, doubts first."""
    doubts = [*doubt_lines(shown), *speed_lines(shown)]
    return [*([" ".join(filter(None, doubts))] if doubts else []), sentences(shown)]


def _costs(shown: Mapping[str, Any]) -> ReportFigure:
    """Return the chart of what the compressed model costs, as shares of the original."""
    before, after = shown["original"], shown["thin"]
    rows = savings(shown)
    bars = [
        Bar(title, after[key] / before[key], before=1.0)
        for title, key in (("parameters", "parameters"), ("MACs", "macs"), ("file", "bytes"))
        if before[key] and after[key] is not None
    ]
    for size, ratio in shown["latency"]["ratio"].items():
        if ratio is not None:
            low, middle, high = ratio
            bars.append(Bar(f"latency, batch {size}", middle, (low, high), before=1.0))
    costs = {row[0]: row for row in rows}
    named = [_named(bar, costs) for bar in bars]
    scale = Scale.over(
        [0.0, 1.0, *(end for bar in bars for end in (bar.interval or (bar.value or 0.0,)))],
        shares=True,
    ) or Scale(0.0, 1.0, 0.25, shares=True)
    cells = tuple((bar.name, percent(bar.value or 0.0)) for bar in bars)
    caption = (
        "What is left of each cost: faint the original, strong the compressed model; lines at "
        "latencies are quartiles over rounds."
    )
    beyond = scale.share(1.0) < 1  # else the end of the scale is the original
    chart = Chart(bar_plot(named, scale, caption, reference=1.0 if beyond else None))
    return ReportFigure(caption, (chart,), ("cost", "left"), cells, "savings")


def _named(bar: Bar, costs: Mapping[str, Sequence[str]]) -> Bar:
    """Return a bar whose name says both numbers."""
    row = costs.get(bar.name) or costs.get(f"ms, {bar.name.removeprefix('latency, ')}")
    if row is None:
        return bar
    unit = " ms" if row[0].startswith("ms") else ""
    return Bar(f"{bar.name}: {row[1]} → {row[2]}{unit}", bar.value, bar.interval, bar.before)


def _figure(layers: Sequence[Mapping[str, Any]]) -> ReportFigure:
    """Return the chart of the widths before and after."""
    bars = [
        Bar(
            short(each["layer"], NAME),
            float(each["units_after"]),
            before=float(each["units_before"]),
            words=" of ".join(
                tables.grouped(each[f"units_{when}"]) for when in ("after", "before")
            ),
        )
        for each in layers
    ]
    few = len(bars) <= MOST_BARS
    draw = bar_plot if few else column_plot
    whole = sum(each["units_after"] == each["units_before"] for each in layers)
    label = f"Units of {len(bars)} layers before and after; {whole} of them keep all."
    order = "from input to output" if few else "numbered from input to output"
    cells = tuple(
        (str(i), bar.name, bar.words, percent((bar.value or 0.0) / (bar.before or 1.0)))
        for i, bar in enumerate(bars, start=1)
    )
    columns = ("#", "layer", "units kept", "share")
    caption = f"The width of each layer, {order}: faint before, strong after."
    scale = Scale.over([float(each["units_before"]) for each in layers], shares=False)
    charts = () if scale is None else (Chart(draw(bars, scale, label)),)
    return ReportFigure(caption, charts, columns, cells, "left")


def _split(factors: Sequence[Mapping[str, Any]]) -> tables.Table:
    rows = [
        (
            short(each["node"], NAME),
            f"{each['columns']} × {each['outputs']}",
            str(each["rank"]),
            percent(each["weights_left"]),
            _error(each["error"]),
        )
        for each in factors
    ]
    return tables.Table(("node", "weight", "rank", "of its cost", "error"), rows, "refits")


def _dropped(branches: Sequence[Mapping[str, Any]]) -> tables.Table | None:
    rows = [(short(each["node"], NAME), _error(each["error"])) for each in branches]
    return tables.Table(("node that adds it", "error"), rows, "refits") if rows else None


def _refits(refits: Sequence[Mapping[str, Any]]) -> tables.Table:
    rows = [
        (short(fit["node"], NAME), number(fit["ridge"]), _error(fit["error"])) for fit in refits
    ]
    return tables.Table(("node", "ridge", "error"), rows, "refits")


def _error(error: float | None) -> str:
    return "–" if error is None else number(error)


def _provenance(shown: Mapping[str, Any], data: str) -> tables.FactList:
    """Return the origin of the compressed model, and its digest."""
    compressed = shown["thin"]
    facts = tables.provenance_facts(
        {
            "provenance": shown["provenance"],
            "model": shown["original"],
            "data": {"sha256": data},
        }
    )
    if compressed is None:
        return facts
    return [
        *facts,
        ("compressed model", compressed["path"]),
        ("its sha256", compressed["sha256"]),
    ]
