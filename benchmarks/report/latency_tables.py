"""The tables of the part ``latency``."""

from collections.abc import Iterable, Sequence
from statistics import mean

from benchmarks.report.markdown import Json, size, table

HEAD = "### Agreement against measured time"
PICTURE = "![Agreement of labels against the share of time](latency.svg)"
"""The picture, as a link in the page."""

BATCHES = ("1", "16")
BUDGETS = {"macs": "of the MACs", "latency": "of the time"}

NOTHING_FASTER = 1.0
"""The share of time from which on a file is not faster; its cell is in italics."""


def latency(results: list[Json]) -> str:
    """Return a table of all files for each network, and one of what compressing costs."""
    parts = [HEAD]
    for net in results:
        parts += [_described(net), _table(net)]
    parts += [
        "**Cost of `frivkit compress`**: processor seconds on one thread, and the largest resident "
        "memory of the process.",
        _costs(results),
    ]
    return "\n\n".join(parts)


def with_picture(tables: str) -> str:
    """Return tables with the picture above those of latency, if there are some."""
    return tables.replace(HEAD, f"{HEAD}\n\n{PICTURE}")


def _described(net: Json) -> str:
    whole = net["whole"]
    milliseconds = " and ".join(
        f"{mean(one[batch]['seconds'] for one in whole['time']) * 1000:.3g} ms at batch {batch}"
        for batch in BATCHES
    )
    noise = " and ".join(_share(whole["time"], batch) for batch in BATCHES)
    return (
        f"**{net['net']}**: {whole['macs'][0]:,} MACs, {milliseconds}; "
        f"{whole['examples']:,} examples verify it, accuracy {mean(whole['accuracy']):.4f}. "
        f"Two sessions of the original take {noise} of each other's time."
    )


def _table(net: Json) -> str:
    """Return a row for each budget and competitor; the best agreement of a budget is in bold."""
    rows: list[Sequence[object]] = []
    for budget in net["budgets"]:
        agreements = [
            round(mean(side["agreement"]), 4)
            for side in budget["sides"].values()
            if "agreement" in side
        ]
        for name, side in budget["sides"].items():
            start = (f"{budget['level']:.0%} {BUDGETS[budget['kind']]}", name)
            if "agreement" not in side:
                rows.append((*start, _reason(side, budget["kind"]), "", "", ""))
                continue
            agreement = round(mean(side["agreement"]), 4)
            text = f"**{agreement:.4f}**" if agreement == max(agreements) else f"{agreement:.4f}"
            left = mean(a / b for a, b in zip(side["macs"], net["whole"]["macs"], strict=True))
            times = [_share(side["time"], batch) for batch in BATCHES]
            rows.append((*start, text, f"{left:.3f}", *times))
    heads = ("budget", "competitor", "labels unchanged", "MACs")
    return table((*heads, "time, batch 1", "time, batch 16"), rows)


def _share(times: Sequence[Json], batch: str) -> str:
    """Return the median share of time with its quartiles, means over seeds."""
    median, lower, upper = (
        mean(one[batch][number] for one in times) for number in ("median", "lower", "upper")
    )
    text = f"{median:.2f} ({lower:.2f}–{upper:.2f})"
    return text if median < NOTHING_FASTER else f"*{text}*"


def _reason(side: Json, kind: str) -> str:
    if "cannot" in side:
        left = "of the MACs" if kind == "macs" else "of the time"
        return f"cannot: stays at {side['cannot']:.0%} {left}"
    return str(side.get("absent", "refused" if "refused" in side else "fails"))


def _costs(results: Iterable[Json]) -> str:
    rows = []
    for net in results:
        sides = [
            (budget, side)
            for budget in net["budgets"]
            if "cpu_seconds" in (side := budget["sides"].get("frivkit", {}))
        ]
        for budget, side in sides:
            name = f"{budget['level']:.0%} {BUDGETS[budget['kind']]}"
            peak = size(max(side["peak_bytes"]))
            rows.append((net["net"], name, f"{mean(side['cpu_seconds']):.0f}", peak))
    return table(("network", "budget", "processor seconds", "peak memory"), rows)
