"""What this plugin offers: feature maps and single locations as units."""

from frivkit.hooks.specs import Offer, hookimpl


@hookimpl
def unit_selectors() -> list[Offer]:
    """Offer the two readings that the paper uses."""
    return [
        Offer(
            "map",
            "frivkit_unit_selectors.selectors:MAP",
            "a feature map is a unit, its places examples",
        ),
        Offer(
            "location",
            "frivkit_unit_selectors.selectors:LOCATION",
            "every place of a map is a unit",
        ),
    ]
