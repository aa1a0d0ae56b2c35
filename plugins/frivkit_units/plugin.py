"""What this plugin offers: feature maps and single locations as units."""

from frivkit.hookspecs import Offer, hookimpl


@hookimpl
def unit_selectors() -> list[Offer]:
    """Offer the two readings that the paper uses."""
    return [
        Offer("map", "frivkit_units.selectors:MAP", "a feature map is a unit, its places examples"),
        Offer("location", "frivkit_units.selectors:LOCATION", "every place of a map is a unit"),
    ]
