"""Offers of this plugin: feature maps and single positions as units."""

from frivkit.hooks.specs import Offer, hookimpl


@hookimpl
def unit_selectors() -> list[Offer]:
    """Offer the two selectors of the paper."""
    return [
        Offer(
            "map",
            "frivkit_unit_selectors.selectors:MAP",
            "a feature map is a unit, its positions are observations",
        ),
        Offer(
            "location",
            "frivkit_unit_selectors.selectors:LOCATION",
            "every position of a map is a unit",
        ),
    ]
