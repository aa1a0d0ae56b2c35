"""Warnings about layers of which a plan leaves next to nothing."""

from collections.abc import Iterator

from frivkit.compression.calibration import Calibration
from frivkit.compression.plan import Plan, units_left
from frivkit.compression.unit_kinds import classify_units

RUINED = 1 / 8
"""Share of the units of a layer up to which it counts as ruined."""
OTHERS = 4
"""How many times as large the share is that all layers together keep."""


def ruined_layers(calibration: Calibration, plan: Plan) -> Iterator[str]:
    """Yield a warning for each layer that a plan cuts down to meet the budget alone.

    Such a layer keeps :data:`RUINED` of its units or less, while all layers together keep
    :data:`OTHERS` times that share.  Layers whose removed units are all prunable are not ruined,
    nor are those that leave with a whole branch.

    Args:
        calibration: The model and its statistics.
        plan: The plan.
    """
    sites = calibration.site_map.sites
    left = {site.name: units_left(plan, site) for site in sites}
    total = sum(left.values()) / max(1, sum(site.width for site in sites))
    candidates = [
        site
        for site in sites
        if 0 < left[site.name] <= RUINED * site.width
        and OTHERS * left[site.name] <= total * site.width
    ]
    if not candidates:
        return
    kinds = classify_units(calibration, plan.keep)
    for site in candidates:
        groups = calibration.pruning_graph.groups.of[site.name]
        if not kinds.prunable[groups[~plan.keep[site.name]]].all():
            yield (
                f"layer {site.layer} keeps {left[site.name]} of {site.width} units while all "
                f"layers together keep {total:.0%}: a budget that little else can meet ruins it; "
                "allow more, or keep some of it by --least or --keep-layer"
            )
