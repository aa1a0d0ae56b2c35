"""Results as Markdown: a table for each benchmark, made from the JSON and nothing else."""

from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

Json = Mapping[str, Any]

BEGIN, END = "<!-- results: written by make bench -->", "<!-- end of results -->"

SIDES = {
    "plain": "plain ONNX Runtime passes",
    "frivkit": "frivkit",
    "torch hook": "torch forward hooks",
    "captum": "captum, the layers only",
    "session a mask": "an ONNX Runtime session for each mask",
}


def markdown(results: Json) -> str:
    """Give the tables of the parts that were run."""
    tables = {
        "prunability": _prunability,
        "suffix": _suffix,
        "batches": _batches,
        "entries": _entries,
        "spent": _spent,
    }
    parts = [_setting(results)]
    parts += [table(results[name]) for name, table in tables.items() if name in results]
    return "\n\n".join(parts) + "\n"


def in_page(page: str, tables: str) -> str:
    """Put tables between the marks of a page.

    Raises:
        ValueError: the page lacks the marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks {BEGIN!r} or {END!r}")
    return f"{before}{BEGIN}\n\n{tables}\n{END}{after}"


def _setting(results: Json) -> str:
    told = results["setting"]
    loads = ", ".join(f"{name} {load:.2f}" for name, load in results["load_before"].items())
    versions = ", ".join(f"{name} {number}" for name, number in told["packages"].items())
    lines = [
        f"Measured {told['date']} on {told['processor']} ({told['cores']} cores, caches "
        f"{told['caches']}, {told['memory_gib']} GiB), {told['system']}, Python {told['python']}.",
        f"Versions: {versions}.",
        f"{told['threads']} threads for every side; {' and '.join(told['unset'])} unset; "
        f"{told['rounds']} rounds.",
        f"Load before each part: {loads}.",
    ]
    return "\n".join(lines)


def _prunability(found: Json) -> str:
    speeds = ", ".join(f"{b}: {s * 1000:.0f} ms" for b, s in found["plain_batches"].items())
    parts = ["### Prunability of the MNIST network"]
    parts.append(
        f"One plain pass over {found['examples']:,} digits, by batch: {speeds}; "
        f"{found['plain_batch']} is used."
    )
    for units, one in found["units"].items():
        rows = [
            (
                SIDES[name],
                f"{median(one['seconds'][name]):.1f}",
                _spread(one["to_plain"][name]),
                _spread(one["to_frivkit"][name]),
                "" if name == "plain" else one["examples_apart"][name],
            )
            for name in SIDES
        ]
        parts.append(
            f"Units by {units}: {one['passes']} plain passes against {one['masks']} masks "
            f"(torch at batch {one['torch_batch']}, captum scaled by {one['captum_factor']:.2f})."
        )
        heads = ("side", "seconds", "to plain passes", "to frivkit", "examples apart")
        parts.append(_table(heads, rows))
    return "\n\n".join(parts)


def _suffix(found: Json) -> str:
    seconds = found["median_seconds"]
    row = (
        found["passes"],
        f"{seconds['plain']:.1f}",
        found["masks"],
        f"{seconds['frivkit']:.1f}",
        _spread(found["to_plain"]),
    )
    heads = ("plain passes", "seconds", "masks", "seconds with frivkit", "to plain passes")
    return (
        f"### Prunability of a ResNet-20\n\n{found['layers']} layers and the network, "
        f"{found['levels']} levels, {found['repeats']} repeat, {found['examples']} Gaussian "
        f"examples, units by location.\n\n{_table(heads, [row])}"
    )


def _batches(found: Json) -> str:
    sizes = list(found["cases"][0]["to_fastest"])
    heads = ("network", "activations", "weights", *sizes)
    rows = [
        (
            case["case"],
            _bytes(case["live_bytes"]),
            _bytes(case["weight_bytes"]),
            *(f"{case['to_fastest'][s]:.2f}" if s in case["to_fastest"] else "" for s in sizes),
        )
        for case in found["cases"]
    ]
    best = sorted(found["rules"], key=lambda rule: float(rule["mean"]))[:8]
    rules = [
        (
            f"{rule['megabytes']} MiB" + (" or the weights" if rule["weights"] else ""),
            rule["largest"],
            *_scores(rule),
        )
        for rule in best
    ]
    rules.append(("in use", "", *_scores(found["in_use"])))
    scored = ("activations of a batch", "largest batch", "batches", "mean", "worst")
    return (
        "### Batch sizes\n\nTime for one example of the masked network relative to the fastest "
        f"batch.\n\n{_table(heads, rows)}\n\nRules that choose a batch, and what they lose to the "
        f"fastest one; the best eight and the one in use.\n\n{_table(scored, rules)}"
    )


def _scores(rule: Json) -> tuple[str, ...]:
    batches = ", ".join(str(batch) for batch in rule["batches"])
    return batches, f"{rule['mean']:.2f}", f"{rule['worst']:.2f}"


def _entries(found: Json) -> str:
    rows = [
        (
            f"{row['case']}, {row['layer']}",
            _bytes(row["bytes"]),
            f"{row['macs_per_byte']:.0f}",
            *(f"{row[step] * 1000:.1f}" for step in ("compute", "write", "read")),
        )
        for number, row in enumerate(found["sites"])
        if number % 3 == 0 or row["case"] == "MNIST net"
    ]
    rates, pays = found["rates"], found["macs_per_byte_that_pay"]
    heads = ("layer", "entries", "MACs a byte", "compute, ms", "write, ms", "read, ms")
    return (
        "### Keeping entries\n\n"
        f"Computing runs at {rates['macs_a_second'] / 1e9:.0f} billion multiply-accumulates a "
        f"second, reading at {rates['bytes_read_a_second'] / 1e6:.0f} MB/s, writing at "
        f"{rates['bytes_written_a_second'] / 1e6:.0f} MB/s.\n"
        f"Reading beats computing from {pays['second_run']:.0f} multiply-accumulates a byte on; "
        f"writing is paid back by the first read from {pays['write_and_first_read']:.0f} on.\n"
        "All layers of the MNIST network, and one in three of the ResNet-20."
        f"\n\n{_table(heads, rows)}"
    )


def _spent(found: Json) -> str:
    heads = ("units", *next(iter(found.values())))
    rows = [(units, *(f"{share:.1%}" for share in part.values())) for units, part in found.items()]
    return f"### Where frivkit's time goes (MNIST network)\n\n{_table(heads, rows)}"


def _spread(ratio: Json) -> str:
    return f"{ratio['median']:.2f} ({ratio['least']:.2f}–{ratio['most']:.2f})"


def _bytes(count: float) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.0f} KiB"


def _table(heads: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    lines = [list(heads), *map(list, rows)]
    text = ["| " + " | ".join(map(str, line)) + " |" for line in lines]
    text.insert(1, "|" + "---|" * len(lines[0]))
    return "\n".join(text)
