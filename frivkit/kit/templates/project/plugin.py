"""What this plugin offers.  Every frivkit command imports this module, so it imports no more."""

from frivkit.plugin import Offer, hookimpl


@hookimpl
def its_hook() -> list[Offer]:
    """Offer one: its summary."""
    return [Offer("its-name", "frivkit_mine.its_kind:its_target", "its summary")]
