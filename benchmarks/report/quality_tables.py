"""The tables of the part ``quality``."""

from collections.abc import Callable, Sequence
from statistics import mean

from benchmarks.report.markdown import Json, table

COUNTED = {"macs": "MACs", "params": "parameters", "units": "units"}
TITLES = {"Torch-Pruning Taylor": "Torch-Pruning Taylor (needs labels and gradients)"}
TOLERANCE = 0.02
"""The difference from the budget above which a cell shows the remaining share."""

MANY_EXAMPLES = 5_000
"""The number of examples from which on a fourth digit is shown."""

HEAD = "### Quality at equal budgets"
PICTURE = "![Agreement of labels against the share of MACs left](quality.svg)"
"""The picture, as a link in the page."""


def quality(results: list[Json]) -> str:
    """Return tables of agreement by kind of budget, and one of accuracy, for each network."""
    parts = [HEAD]
    for net in results:
        parts.append(_described(net))
        for kind, counted in COUNTED.items():
            budgets = [each for each in net["budgets"] if each["kind"] == kind]
            if budgets:
                parts.append(f"{net['net']}: labels unchanged, by the share of {counted} left.")
                parts.append(_table(net, budgets, "agreement"))
        budgets = [each for each in net["budgets"] if each["kind"] == "macs"]
        parts.append(f"{net['net']}: accuracy, by the share of MACs left.")
        parts.append(_table(net, budgets, "accuracy"))
    return "\n\n".join(parts)


def _described(net: Json) -> str:
    whole = net["whole"]
    return (
        f"**{net['net']}**: {whole['macs'][0]:,} MACs, {whole['params'][0]:,} parameters, "
        f"{whole['units'][0]:,} units; {whole['examples']:,} examples verify it, on which the "
        f"whole network's accuracy is {_spread(whole['accuracy'], 4)}."
    )


def with_picture(tables: str) -> str:
    """Return tables with the picture above those of quality, if there are some."""
    return tables.replace(HEAD, f"{HEAD}\n\n{PICTURE}")


def _table(net: Json, budgets: Sequence[Json], number: str) -> str:
    digits = 4 if net["whole"]["examples"] >= MANY_EXAMPLES else 3
    columns = [_column(net["whole"], each, number, digits) for each in budgets]
    competitors = budgets[0]["sides"]
    rows = [
        (TITLES.get(name, name), *cells) for name, *cells in zip(competitors, *columns, strict=True)
    ]
    return table(("competitor", *(f"{each['level']:.0%}" for each in budgets)), rows)


def _column(whole: Json, budget: Json, number: str, digits: int) -> list[str]:
    """Return mean, minimum and maximum of each competitor, the best in bold; or a reason."""
    means = [
        round(mean(competitor[number]), digits)
        for competitor in budget["sides"].values()
        if number in competitor
    ]
    cells = []
    for competitor in budget["sides"].values():
        if number not in competitor:
            cells.append(_reason(competitor))
            continue
        text = _spread(competitor[number], digits)
        if round(mean(competitor[number]), digits) == max(means):
            text = f"**{text}**"
        kind = budget["kind"]
        remaining = mean(a / b for a, b in zip(competitor[kind], whole[kind], strict=True))
        cells.append(
            text if budget["level"] - remaining <= TOLERANCE else f"{text} at {remaining:.0%}"
        )
    return cells


def _reason(competitor: Json) -> str:
    if "cannot" in competitor:
        return f"cannot: stays at {competitor['cannot']:.0%}"
    return str(competitor.get("absent", "fails"))


def _spread(numbers: Sequence[float], digits: int) -> str:
    text: Callable[[float], str] = f"{{:.{digits}f}}".format
    if len(set(numbers)) == 1:
        return text(numbers[0])
    return f"{text(mean(numbers))} ({text(min(numbers))}–{text(max(numbers))})"
