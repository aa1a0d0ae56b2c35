"""The results as Markdown: tables of each part, made from the stored JSON alone."""

from statistics import median

from benchmarks.report import latency_tables, moment_tables, quality_tables, visualization_tables
from benchmarks.report.markdown import Json, size, spread, table

BEGIN, END = "<!-- results: written by make bench -->", "<!-- end of results -->"

COMPETITORS = {
    "plain": "plain ONNX Runtime passes",
    "frivkit": "frivkit",
    "torch hook": "torch forward hooks",
    "captum": "captum, the layers only",
    "session a mask": "an ONNX Runtime session for each mask",
}


def markdown(results: Json) -> str:
    """Return the tables of the stored parts, each with its date, rounds and load.

    Args:
        results: By part its ``setting``, ``load``, ``rounds`` and results ``found``.
    """
    tables = {
        "prunability": _prunability,
        "suffix": _suffix,
        "moments": moment_tables.moments,
        "rows": moment_tables.rows,
        "batches": _batches,
        "entries": _prefixes,
        "spent": _time_profile,
        "visualization": visualization_tables.visualization,
        "quality": quality_tables.quality,
        "latency": latency_tables.latency,
    }
    stored = {name: results[name] for name in tables if name in results}
    parts = _settings(stored)
    for name, part in stored.items():
        head, _, rest = tables[name](part["found"]).partition("\n\n")
        parts += [head, _measured(part), rest]
    return "\n\n".join(parts) + "\n"


def in_page(page: str, tables: str) -> str:
    """Return a page with tables between its two comments for results.

    Raises:
        ValueError: the page lacks a comment.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks {BEGIN!r} or {END!r}")
    pictured = latency_tables.with_picture(quality_tables.with_picture(tables))
    return f"{before}{BEGIN}\n\n{pictured}\n{END}{after}"


def _settings(stored: Json) -> list[str]:
    """Return descriptions of machine and versions, each with its parts if there are several."""
    parts: dict[str, list[str]] = {}
    for name, part in stored.items():
        parts.setdefault(_setting(part["setting"]), []).append(name)
    if len(parts) == 1:
        return list(parts)
    return [f"For {', '.join(names)}:\n{text}" for text, names in parts.items()]


def _setting(setting: Json) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in setting["packages"].items())
    lines = [
        f"Measured on {setting['processor']} ({setting['cores']} cores, "
        f"caches {setting['caches']}, {setting['memory_gib']} GiB), {setting['system']}, "
        f"Python {setting['python']}.",
        f"Versions: {versions}.",
        f"{setting['threads']} thread{'s'[: setting['threads'] > 1]} for every competitor; "
        f"{' and '.join(setting['unset'])} unset.",
    ]
    return "\n".join(lines)


def _measured(part: Json) -> str:
    rounds = "1 round" if part["rounds"] == 1 else f"{part['rounds']} rounds"
    return f"*{part['setting']['date']}, {rounds}, load {part['load']:.2f} before.*"


def _prunability(results: Json) -> str:
    speeds = ", ".join(f"{b}: {s * 1000:.0f} ms" for b, s in results["plain_batches"].items())
    parts = ["### Prunability of the MNIST network"]
    parts.append(
        f"One plain pass over {results['examples']:,} digits, by batch: {speeds}; "
        f"{results['plain_batch']} is used."
    )
    for units, one in results["units"].items():
        rows = [
            (
                COMPETITORS[name],
                f"{median(one['seconds'][name]):.1f}",
                spread(one["to_plain"][name]),
                spread(one["to_frivkit"][name]),
                "" if name == "plain" else one["examples_apart"][name],
            )
            for name in COMPETITORS
        ]
        parts.append(
            f"Units by {units}: {one['passes']} plain passes against {one['masks']} masks "
            f"(torch at batch {one['torch_batch']}, captum scaled by {one['captum_factor']:.2f})."
        )
        heads = ("competitor", "seconds", "to plain passes", "to frivkit", "examples apart")
        parts.append(table(heads, rows))
    return "\n\n".join(parts)


def _suffix(results: list[Json]) -> str:
    first = results[0]
    rows = [
        (
            one["network"],
            one["layers"],
            one["masks"],
            f"{one['median_pass'] * 1000:.0f}",
            f"{one['least_passes']:.1f}",
            f"{one['median_seconds']:.1f}",
            spread(one["to_least"]),
            f"{one['passes']}",
            spread(one["to_plain"]),
        )
        for one in results
    ]
    heads = (
        "network",
        "layers",
        "masks",
        "ms of a plain pass",
        "least passes",
        "seconds with frivkit",
        "to the least passes",
        "all passes",
        "to all passes",
    )
    return (
        "### Prunability of deep networks\n\nThe layers and the network, "
        f"{first['levels']} levels, {first['repeats']} repeat, {first['examples']} Gaussian "
        f"examples, units by location; processor time of one thread.\n\n{table(heads, rows)}"
    )


def _batches(results: Json) -> str:
    sizes = list(results["cases"][0]["to_fastest"])
    heads = ("network", "activations", "weights", *sizes)
    rows = [
        (
            case["case"],
            size(case["live_bytes"]),
            size(case["weight_bytes"]),
            *(f"{case['to_fastest'][s]:.2f}" if s in case["to_fastest"] else "" for s in sizes),
        )
        for case in results["cases"]
    ]
    best = sorted(results["rules"], key=lambda rule: float(rule["mean"]))[:8]
    rules = [
        (
            f"{rule['megabytes']} MiB" + (" or the weights" if rule["weights"] else ""),
            rule["largest"],
            *_scores(rule),
        )
        for rule in best
    ]
    rules.append(("in use", "", *_scores(results["in_use"])))
    scored = ("activations of a batch", "largest batch", "batches", "mean", "worst")
    return (
        "### Batch sizes\n\nTime for one example of the masked network relative to the fastest "
        f"batch.\n\n{table(heads, rows)}\n\nRules that choose a batch, and what they lose to the "
        f"fastest one; the best eight and the one in use.\n\n{table(scored, rules)}"
    )


def _scores(rule: Json) -> tuple[str, ...]:
    batches = ", ".join(str(batch) for batch in rule["batches"])
    return batches, f"{rule['mean']:.2f}", f"{rule['worst']:.2f}"


def _prefixes(results: Json) -> str:
    rows = [
        (
            f"{row['case']}, {row['layer']}",
            size(row["bytes"]),
            f"{row['macs_per_byte']:.0f}",
            *(f"{row[step] * 1000:.1f}" for step in ("compute", "write", "read")),
        )
        for number, row in enumerate(results["sites"])
        if number % 3 == 0 or row["case"] == "MNIST net"
    ]
    rates, pays = results["rates"], results["macs_per_byte_that_pay"]
    heads = ("layer", "prefix", "MACs a byte", "compute, ms", "write, ms", "read, ms")
    return (
        "### Storing prefix activations\n\n"
        f"Computing runs at {rates['macs_a_second'] / 1e9:.0f} billion multiply-accumulates a "
        f"second, reading at {rates['bytes_read_a_second'] / 1e6:.0f} MB/s, writing at "
        f"{rates['bytes_written_a_second'] / 1e6:.0f} MB/s.\n"
        f"Reading beats computing from {pays['second_run']:.0f} multiply-accumulates a byte on; "
        f"writing is paid back by the first read from {pays['write_and_first_read']:.0f} on.\n"
        "All layers of the MNIST network, and one in three of the ResNet-20."
        f"\n\n{table(heads, rows)}"
    )


def _time_profile(results: Json) -> str:
    heads = ("units", *next(iter(results.values())))
    rows = [
        (units, *(f"{share:.1%}" for share in part.values())) for units, part in results.items()
    ]
    return f"### Where frivkit's time goes (MNIST network)\n\n{table(heads, rows)}"
