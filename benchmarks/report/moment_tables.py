"""The tables of the parts ``moments`` and ``rows``."""

from collections.abc import Mapping
from statistics import median
from typing import Any

from benchmarks.report.markdown import Json, size, spread, table

WAYS = {
    "plain": "plain ONNX Runtime pass",
    "in_graph": "frivkit, summed in the graph",
    "exact": "frivkit, `exact`",
    "taken_out": "taken out, numpy in float64",
    "delve": "delve's sums in torch hooks",
}

COMPETITORS = {
    "plain": "plain ONNX Runtime pass up to the layer",
    "frivkit": "frivkit",
    "delve": "delve's sums in torch hooks",
    "numpy": "rows collected, numpy in float64",
    "PCA": "rows collected, scikit-learn `PCA`",
    "IncrementalPCA": "scikit-learn `IncrementalPCA`",
}


def moments(results: list[Json]) -> str:
    """Return a table for each network."""
    parts = ["### Moments of all layers"]
    heads = (
        "competitor",
        "seconds",
        "to the plain pass, from the files on",
        "to the plain pass, the pass alone",
        "peak memory",
        "eigenvalues apart",
    )
    for one in results:
        rows = [
            (
                title,
                f"{median(way['seconds']):.2f}",
                spread(way["to_plain"]),
                spread(way["pass_to_plain"]) if "pass_to_plain" in way else "",
                _memory(way),
                _apart(way),
            )
            for way, title in ((one["ways"][name], title) for name, title in WAYS.items())
        ]
        parts.append(
            f"{one['case']}, {one['layers']} layers, {one['examples']:,} images: a plain pass "
            f"takes {median(one['plain_pass']):.2f} s (at batch {one['batch']}; torch at batch "
            f"{one['torch_batch']})."
        )
        parts.append(table(heads, rows))
    return "\n\n".join(parts)


def rows(results: list[Json]) -> str:
    """Return a table for each size."""
    parts = ["### Eigenvalues of one layer"]
    heads = (
        "competitor",
        "seconds",
        "of which on rows in memory",
        "to frivkit",
        "peak memory",
        "eigenvalues apart",
    )
    for one in results:
        lines = [
            (
                title,
                f"{median(way['seconds']):.2f}",
                f"{median(way['arithmetic']):.2f}" if "arithmetic" in way else "",
                spread(way["to_frivkit"]),
                _memory(way),
                _apart(way),
            )
            for way, title in ((one["ways"][name], title) for name, title in COMPETITORS.items())
        ]
        parts.append(
            f"{one['units']} units, {one['rows']:,} rows (rank {one['rank']}; batch "
            f"{one['batch']}, torch {one['torch_batch']})."
        )
        parts.append(table(heads, lines))
    return "\n\n".join(parts)


def _memory(way: Mapping[str, Any]) -> str:
    """Return the largest peak of all rounds, an empty string if it is not known."""
    return "" if None in way["bytes"] else size(max(way["bytes"]))


def _apart(way: Json) -> str:
    return f"{way['apart']:.1e}" if "apart" in way else ""
