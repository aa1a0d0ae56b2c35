"""The tables of the part ``quality``."""

from collections.abc import Callable, Sequence
from statistics import mean

from benchmarks.markdown import Json, table

COUNTED = {"macs": "MACs", "params": "parameters", "units": "units"}
MARKS = {"Torch-Pruning Taylor": "Torch-Pruning Taylor (needs labels and gradients)"}
OFF = 0.02
"""How much less than the budget a side may leave before its cell says so."""

MANY = 5_000
"""Examples from which on a fourth digit is shown."""

HEAD = "### Quality at equal budgets"
PICTURE = "![Agreement of labels against the share of MACs left](quality.svg)"
"""The picture as the page beside it shows it."""


def quality(found: list[Json]) -> str:
    """Return for each network a table of agreement for each kind of budget, and one of accuracy."""
    parts = [HEAD]
    for net in found:
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
        f"{whole['units'][0]:,} units; {whole['examples']:,} examples prove it, on which the whole "
        f"network's accuracy is {_spread(whole['accuracy'], 4)}."
    )


def pictured(tables: str) -> str:
    """Put the picture above the tables of quality, where there are some."""
    return tables.replace(HEAD, f"{HEAD}\n\n{PICTURE}")


def _table(net: Json, budgets: Sequence[Json], number: str) -> str:
    digits = 4 if net["whole"]["examples"] >= MANY else 3
    columns = [_column(net["whole"], each, number, digits) for each in budgets]
    sides = budgets[0]["sides"]
    rows = [(MARKS.get(name, name), *cells) for name, *cells in zip(sides, *columns, strict=True)]
    return table(("side", *(f"{each['level']:.0%}" for each in budgets)), rows)


def _column(whole: Json, budget: Json, number: str, digits: int) -> list[str]:
    """Return mean, least and most of each side, the best in bold; or why there is none."""
    means = [
        round(mean(side[number]), digits) for side in budget["sides"].values() if number in side
    ]
    cells = []
    for side in budget["sides"].values():
        if number not in side:
            cells.append(_lacking(side))
            continue
        said = _spread(side[number], digits)
        if round(mean(side[number]), digits) == max(means):
            said = f"**{said}**"
        kind = budget["kind"]
        left = mean(a / b for a, b in zip(side[kind], whole[kind], strict=True))
        cells.append(said if budget["level"] - left <= OFF else f"{said} at {left:.0%}")
    return cells


def _lacking(side: Json) -> str:
    if "cannot" in side:
        return f"cannot: stays at {side['cannot']:.0%}"
    return str(side.get("absent", "fails"))


def _spread(numbers: Sequence[float], digits: int) -> str:
    said: Callable[[float], str] = f"{{:.{digits}f}}".format
    if len(set(numbers)) == 1:
        return said(numbers[0])
    return f"{said(mean(numbers))} ({said(min(numbers))}–{said(max(numbers))})"
