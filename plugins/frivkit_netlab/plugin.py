"""What this plugin offers."""

from frivkit.hookspecs import Offer, hookimpl


@hookimpl
def laboratories() -> list[Offer]:
    """Offer training by architectures and trainers, and measuring by metrics."""
    return [
        Offer("networks", "frivkit_netlab.laboratory:plan", "any architecture, trainer and metric")
    ]
