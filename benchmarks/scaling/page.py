"""The tables of ``docs/scaling.md``, made from the stored results alone."""

from collections.abc import Mapping
from statistics import median
from typing import Any

from benchmarks.measuring.rounds import Json
from benchmarks.report.markdown import size, table
from benchmarks.scaling.work import ENGINE, MASKS, NETWORKS, measured_networks

BEGIN, END = "<!-- {}: written by benchmarks.scaling -->", "<!-- end -->"
PRICE = 0.05
"""The price of a worker for an hour: an input, in any currency."""
FLOORS = {
    "work": "the work itself",
    "longest": "the longest item of each map",
    "client": "the client, which hands items over",
    "store": "the store of the examples",
}
"""What can bind, by the name of its floor."""


def blocks(stored: Json) -> dict[str, str]:
    """Return the parts of the page that are made, by name."""
    made = stored["simulated"]
    return {
        **{name: _analysis(name, stored, made) for name in NETWORKS},
        "limits": _limits(made),
        "sweep": _sweep(stored, made),
        "check": _check(made["check"]),
        "measured": _measured(stored),
    }


def in_page(page: str, made: Mapping[str, str]) -> str:
    """Return a page with each part between its two comments.

    Raises:
        ValueError: the page lacks a comment.
    """
    for name, text in made.items():
        before, begin, rest = page.partition(BEGIN.format(name))
        _, end, after = rest.partition(END)
        if not begin or not end:
            raise ValueError(f"the page lacks {BEGIN.format(name)!r}, or {END!r} behind it")
        page = f"{before}{begin}\n\n{text}\n\n{end}{after}"
    return page


def _analysis(name: str, stored: Json, made: Json) -> str:
    if name not in stored:
        return f"It has not been measured: `python -m benchmarks.scaling --only {name}`."
    limits, found = made["limits"][name], stored[name]["found"]
    return (
        f"Batches of {found['batch']} images make {limits['items_a_map']:,} items a layer, of "
        f"{limits['seconds_an_item']:.1f} s in the mean; {found['measured_examples']} images were "
        "run to measure them.\n"
        f"Costs are at {PRICE:g} for the hour of a worker.\n\n{_rows(made['analysis'][name])}"
    )


def _rows(rows: Json) -> str:
    one = rows["1"]["seconds"]
    heads = ("workers", "time", "times faster", "worker-hours", "cost", "in items", "nearest floor")
    lines = []
    for workers, row in rows.items():
        hours = int(workers) * row["seconds"] / 3600
        name = max(row["floors"], key=lambda key: row["floors"][key])
        lines.append(
            (
                workers,
                duration(row["seconds"]),
                f"{one / row['seconds']:.1f}",
                f"{hours:,.0f}",
                f"{hours * PRICE:,.0f}",
                f"{row['computing'] / (int(workers) * row['seconds']):.1%}",
                f"{FLOORS[name]} ({row['floors'][name] / row['seconds']:.0%} of the time)",
            )
        )
    return table(heads, lines)


def _limits(made: Json) -> str:
    heads = ("network", "seconds an item", "client, `processes`", "client, `dask`", "store")
    lines = [
        (
            name,
            f"{row['seconds_an_item']:.1f}",
            *(f"{row[key]:,.0f}" for key in ("processes", "dask", "store")),
        )
        for name, row in made["limits"].items()
    ]
    least = 0.1 / made["hand_over"]
    return (
        f"{table(heads, lines)}\n\nWith items of 0.1 s, as small networks have, the client of "
        f"`{ENGINE}` is at its limit with {least:.0f} workers."
    )


def _sweep(stored: Json, made: Json) -> str:
    found = stored["steps"]["found"]
    networks = [job for plan in found["jobs"] for job in plan]
    longest = max(networks, key=lambda job: float(job["seconds"]))
    work = sum(job["seconds"] for job in networks)
    text = [
        f"The recipe `fig1` trains {len(networks)} networks, each of which is one item.\n"
        f"On cores like the one that was measured they take {duration(work)} of one core in all.\n"
        f"The longest is {longest['name']}, with {duration(longest['seconds'])}."
    ]
    for order, rows in made["sweep"].items():
        text += [f"In the order {order}:", _rows(rows)]
    as_is, other = made["sweep"].values()
    worst = max(as_is, key=lambda workers: as_is[workers]["seconds"] / other[workers]["seconds"])
    loss = as_is[worst]["seconds"] / other[worst]["seconds"]
    text.append(
        f"The first order costs most with {worst} workers: {loss:.2f} times the time of the second."
    )
    return "\n\n".join(text)


def _check(check: Json) -> str:
    heads = ("workers", "items a map", "seconds", "drawn out by", "from its own items", "fitted")
    lines = [
        (
            workers,
            row["items"],
            f"{row['seconds']:.1f}",
            f"{row['stretch']:.2f}",
            *(_error(row[key]) for key in ("schedule", "fitted")),
        )
        for workers, row in check.items()
    ]
    return table(heads, lines)


def _error(share: Json) -> str:
    median_, least, most = (f"{share[key] - 1:+.1%}" for key in ("median", "least", "most"))
    return f"{median_} ({least} to {most})"


def _measured(stored: Json) -> str:
    overheads, decoding = stored["overheads"]["found"], stored["decoding"]["found"]
    heads = ("engine", "client, ms an item", "worker, ms an item", "starting a worker, s")
    lines = [
        (
            f"`{name}`",
            _range([row["hand_over"] * 1e3, *(1e3 * each for each in row["spread"])], 2),
            f"{row['around'] * 1e3:.2f}",
            f"{row['start']:.1f}",
        )
        for name, row in overheads.items()
    ]
    network_heads = (
        "network",
        "batch",
        "an image to the layer, ms",
        "a mask for an image, ms",
        "client writes a task, s",
        "worker begins a task, s",
        "result of an item",
    )
    rows = []
    for name in measured_networks(stored):
        found = stored[name]["found"]
        layers = found["layers"]
        prefix, mask, write, begin = (
            [one[key] for one in layers] for key in ("prefix", "mask", "write", "begin")
        )
        result = median(one["result_bytes"] for one in layers) * MASKS * found["batch"]
        rows.append(
            (
                name,
                found["batch"],
                *(f"{_range([1e3 * s for s in times], 0)}" for times in (prefix, mask)),
                *(f"{_range(times, 1)}" for times in (write, begin)),
                size(result),
            )
        )
    image = (
        f"An image of ImageNet's usual size, a JPEG of 500 × 375 that is decoded and made 224 × "
        f"224: {decoding['seconds'] * 1e3:.1f} ms, {size(decoding['bytes'])}."
    )
    return "\n\n".join(
        [
            _setting(stored),
            "An item that does nothing, the median of rounds with the least and the most:",
            table(heads, lines),
            image,
            "An ablation, the median of the layers with the least and the most:",
            table(network_heads, rows),
        ]
    )


def _range(numbers: list[float], digits: int) -> str:
    text = [f"{number:.{digits}f}" for number in (median(numbers), min(numbers), max(numbers))]
    return f"{text[0]} ({text[1]}–{text[2]})"


def _setting(stored: Json) -> str:
    setting: Any = stored["overheads"]["setting"]
    packages = setting["packages"]
    versions = ", ".join(
        f"{name} {packages[name]}"
        for name in ("onnxruntime-gpu", "onnxruntime", "torch")
        if name in packages
    )
    dates = sorted(part["setting"]["date"] for part in stored.values() if "setting" in part)
    loads = [part["load"] for part in stored.values() if "load" in part]
    return (
        f"Measured on {setting['processor']} ({setting['cores']} cores, {setting['memory_gib']} "
        f"GiB), {setting['system']}, Python {setting['python']}, {versions}, from {dates[0]} to "
        f"{dates[-1]} (UTC), at loads of {min(loads):.1f} to {max(loads):.1f}."
    )


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it.

    Example:
        >>> duration(90), duration(7200), duration(864000)
        ('1.5 min', '2.0 h', '10 days')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.1f} min"
    if seconds < 3 * 86400:
        return f"{seconds / 3600:.1f} h"
    days = seconds / 86400
    return f"{days:,.0f} days" if days < 3 * 365 else f"{days / 365:,.0f} years"
