"""Results as Markdown: a table for each benchmark, made from the JSON and nothing else."""

from statistics import median

from benchmarks import momenttables, qualitytables
from benchmarks.markdown import Json, size, spread, table

BEGIN, END = "<!-- results: written by make bench -->", "<!-- end of results -->"

SIDES = {
    "plain": "plain ONNX Runtime passes",
    "frivkit": "frivkit",
    "torch hook": "torch forward hooks",
    "captum": "captum, the layers only",
    "session a mask": "an ONNX Runtime session for each mask",
}


def markdown(results: Json) -> str:
    """Return the tables of the parts that are stored, each with when and how it was measured.

    Args:
        results: By part its ``setting``, ``load``, ``rounds`` and what was ``found``.
    """
    tables = {
        "prunability": _prunability,
        "suffix": _suffix,
        "moments": momenttables.moments,
        "rows": momenttables.rows,
        "batches": _batches,
        "entries": _entries,
        "spent": _spent,
        "quality": qualitytables.quality,
    }
    stored = {name: results[name] for name in tables if name in results}
    parts = _settings(stored)
    for name, part in stored.items():
        head, _, rest = tables[name](part["found"]).partition("\n\n")
        parts += [head, _measured(part), rest]
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
    return f"{before}{BEGIN}\n\n{qualitytables.pictured(tables)}\n{END}{after}"


def _settings(stored: Json) -> list[str]:
    """Describe the machine and the versions; each that differs with the parts that it measured."""
    parts: dict[str, list[str]] = {}
    for name, part in stored.items():
        parts.setdefault(_setting(part["setting"]), []).append(name)
    if len(parts) == 1:
        return list(parts)
    return [f"For {', '.join(names)}:\n{text}" for text, names in parts.items()]


def _setting(told: Json) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in told["packages"].items())
    lines = [
        f"Measured on {told['processor']} ({told['cores']} cores, caches {told['caches']}, "
        f"{told['memory_gib']} GiB), {told['system']}, Python {told['python']}.",
        f"Versions: {versions}.",
        f"{told['threads']} thread{'s'[: told['threads'] > 1]} for every side; "
        f"{' and '.join(told['unset'])} unset.",
    ]
    return "\n".join(lines)


def _measured(part: Json) -> str:
    rounds = "1 round" if part["rounds"] == 1 else f"{part['rounds']} rounds"
    return f"*{part['setting']['date']}, {rounds}, load {part['load']:.2f} before.*"


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
                spread(one["to_plain"][name]),
                spread(one["to_frivkit"][name]),
                "" if name == "plain" else one["examples_apart"][name],
            )
            for name in SIDES
        ]
        parts.append(
            f"Units by {units}: {one['passes']} plain passes against {one['masks']} masks "
            f"(torch at batch {one['torch_batch']}, captum scaled by {one['captum_factor']:.2f})."
        )
        heads = ("side", "seconds", "to plain passes", "to frivkit", "examples apart")
        parts.append(table(heads, rows))
    return "\n\n".join(parts)


def _suffix(found: Json) -> str:
    seconds = found["median_seconds"]
    row = (
        found["passes"],
        f"{seconds['plain']:.1f}",
        found["masks"],
        f"{seconds['frivkit']:.1f}",
        spread(found["to_plain"]),
    )
    heads = ("plain passes", "seconds", "masks", "seconds with frivkit", "to plain passes")
    return (
        f"### Prunability of a ResNet-20\n\n{found['layers']} layers and the network, "
        f"{found['levels']} levels, {found['repeats']} repeat, {found['examples']} Gaussian "
        f"examples, units by location.\n\n{table(heads, [row])}"
    )


def _batches(found: Json) -> str:
    sizes = list(found["cases"][0]["to_fastest"])
    heads = ("network", "activations", "weights", *sizes)
    rows = [
        (
            case["case"],
            size(case["live_bytes"]),
            size(case["weight_bytes"]),
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
        f"batch.\n\n{table(heads, rows)}\n\nRules that choose a batch, and what they lose to the "
        f"fastest one; the best eight and the one in use.\n\n{table(scored, rules)}"
    )


def _scores(rule: Json) -> tuple[str, ...]:
    batches = ", ".join(str(batch) for batch in rule["batches"])
    return batches, f"{rule['mean']:.2f}", f"{rule['worst']:.2f}"


def _entries(found: Json) -> str:
    rows = [
        (
            f"{row['case']}, {row['layer']}",
            size(row["bytes"]),
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
        f"\n\n{table(heads, rows)}"
    )


def _spent(found: Json) -> str:
    heads = ("units", *next(iter(found.values())))
    rows = [(units, *(f"{share:.1%}" for share in part.values())) for units, part in found.items()]
    return f"### Where frivkit's time goes (MNIST network)\n\n{table(heads, rows)}"
