"""Results as pandas tables, and arrays out of activation files."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from frivkit.digests import digest_state, warn_unchecked
from frivkit.errors import FrivkitError
from frivkit.report.unit_table import unit_tables

if TYPE_CHECKING:
    import pandas as pd


def measurements(document: Mapping[str, Any]) -> "pd.DataFrame":
    """Return a row for each measurement of ``frivkit.analysis/1``."""
    rows = [
        {
            "metric": row["metric"],
            "scope": row["scope"],
            "layer": row["layer"],
            "units": row["units"],
            "protocol": row["protocol"],
            "value": row["value"],
            "low": None if row["interval"] is None else row["interval"][0],
            "high": None if row["interval"] is None else row["interval"][1],
            "examples": row["examples"],
        }
        for row in document["measurements"]
    ]
    columns = ["metric", "scope", "layer", "units", "protocol", "value", "low", "high", "examples"]
    table = _pandas().DataFrame(rows, columns=columns)
    return table.astype(dict.fromkeys(("value", "low", "high"), "float64"))


def per_unit(document: Mapping[str, Any]) -> "pd.DataFrame":
    """Return a row for each unit of each layer of ``frivkit.analysis/1``."""
    rows = []
    for table in unit_tables(document):
        columns = list(table.columns)
        names = [metric if name == "value" else f"{metric} {name}" for metric, name in columns]
        rows += [
            {"layer": table.layer, "unit": unit}
            | dict(zip(names, table.row(unit, columns), strict=True))
            for unit in range(table.units)
        ]
    if not rows:
        return _pandas().DataFrame(columns=["layer", "unit"])
    return _pandas().DataFrame(rows)


def comparison(document: Mapping[str, Any]) -> "pd.DataFrame":
    """Return a row for each metric, layer and analysis of ``frivkit.comparison/1``."""
    columns = ["metric", "layer", "analysis", "value", "low", "high"]
    columns += ["difference", "difference_low", "difference_high", "verdict"]
    none = {"value": None, "interval": None, "verdict": None}
    rows = []
    for metric in document["metrics"]:
        for row in metric["rows"]:
            for analysis, value, interval, gap in zip(
                document["analyses"],
                row["values"],
                row["intervals"],
                [none, *row["differences"]],
                strict=True,
            ):
                ends, gap_ends = interval or (None, None), gap["interval"] or (None, None)
                given = (metric["metric"], row["layer"], analysis["label"], value, *ends)
                rows.append((*given, gap["value"], *gap_ends, gap["verdict"]))
    table = _pandas().DataFrame(rows, columns=columns)
    return table.astype(dict.fromkeys(columns[3:-1], "float64"))


def sites(document: Mapping[str, Any]) -> "pd.DataFrame":
    """Return a row for each layer of ``frivkit.inspection/1``."""
    columns = ["layer", "op", "units", "spatial", "parameters", "macs"]
    rows = [{name: site[name] for name in columns} for site in document["sites"]]
    return _pandas().DataFrame(rows, columns=columns)


def widths(document: Mapping[str, Any]) -> "pd.DataFrame":
    """Return a row for each layer of ``frivkit.compression/1``."""
    columns = ["layer", "units_before", "units_after", "predicted_error"]
    rows = [{name: layer[name] for name in columns} for layer in document["layers"]]
    return _pandas().DataFrame(rows, columns=columns)


def costs(document: Mapping[str, Any]) -> "pd.DataFrame":
    """Return a row for each cost of ``frivkit.verification/1``, with the ratio of both models."""
    original, compressed = document["original"], document["thin"]
    rows = [
        {"cost": name, "original": original[name], "compressed": compressed[name]}
        for name in ("parameters", "macs", "bytes")
    ]
    rows += [
        {
            "cost": f"ms, batch {size}",
            "original": original["latency_ms"][size],
            "compressed": compressed["latency_ms"][size],
        }
        for size in original["latency_ms"]
    ]
    table = _pandas().DataFrame(rows, columns=["cost", "original", "compressed"])
    table["ratio"] = table["compressed"].astype("float64") / table["original"].astype("float64")
    return table


def plans(document: Mapping[str, Any]) -> "pd.DataFrame":
    """Return a row for each plan of ``frivkit.frontier/1``."""
    rows = []
    for plan in document["plans"]:
        low, high = plan["agreement"]["interval"]
        row = {"share": plan["share"], **plan["left"], "agreement": plan["agreement"]["labels"]}
        row |= {"low": low, "high": high}
        for batch, latency in plan["latency"].items():
            first, middle, third = (None,) * 3 if latency is None else latency["ratio"]
            row |= {f"latency {batch}": middle, f"latency {batch} low": first}
            row[f"latency {batch} high"] = third
        rows.append(row | {"dominated": plan["dominated"]["macs"]})
    return _pandas().DataFrame(rows)


def growth(document: Mapping[str, Any]) -> "pd.DataFrame":
    """Return a row for each kind, layer and width of ``frivkit.advice/1``."""
    rows = [
        {
            "kind": row["kind"],
            "layer": row["layer"],
            "width": count["width"],
            "units": count["units"],
            "share": count["share"],
            "low": None if count["interval"] is None else count["interval"][0],
            "high": None if count["interval"] is None else count["interval"][1],
            "number": count["number"],
            "used": count["used"],
            "gain": row["gain"]["value"],
        }
        for row in document["growth"]
        for count in row["counts"]
    ]
    return _pandas().DataFrame(rows).astype(dict.fromkeys(("low", "high", "gain"), "float64"))


def stored_array(path: Path | None, name: str) -> NDArray[Any]:
    """Return an array of an activation file; its digest is checked when it was not before.

    Raises:
        FrivkitError: the file cannot be read or is damaged.
    """
    import h5py

    try:
        if path is not None and _is_damaged(path, path.stat().st_mtime_ns):
            raise FrivkitError(f"{path} is damaged; write it again")
        with h5py.File(path, "r") as file:
            return np.asarray(file[name][()])
    except (OSError, KeyError) as error:
        raise FrivkitError(f"{path} cannot be read: {error}; write it again") from error


@lru_cache(maxsize=8)
def _is_damaged(path: Path, modified: int) -> bool:
    del modified  # a file that was written again is read again
    state = digest_state(path)
    if state == "missing":
        warn_unchecked(path)
    return state == "wrong"


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise FrivkitError("a table needs pandas, which is not installed: install it") from error
    return pandas
