"""The table of the part ``visualization``."""

from statistics import median

from benchmarks.report.markdown import Json, spread, table


def visualization(results: list[Json]) -> str:
    """Return a table with a row for each size of images and layer."""
    heads = (
        "images",
        "layer",
        "units a minute, frivkit",
        "units a minute, plain loop",
        "time of a step, to the plain loop",
        "before the first step, s",
    )
    rows = [
        (
            f"{one['side']} × {one['side']}",
            f"`{one['layer']}`",
            *(f"{one['units_a_minute'][name]:.2g}" for name in ("frivkit", "plain")),
            spread(one["to_plain"]),
            f"{median(one['seconds']['start']):.1f}",
        )
        for one in results
    ]
    units, steps = results[0]["units"], results[0]["steps"]
    return (
        f"### Images of units\n\n{units} units of a ResNet-18 at once, {steps} steps each, "
        f"in processor time of one core.\n\n{table(heads, rows)}"
    )
