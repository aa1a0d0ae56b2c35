"""What this plugin offers."""

from frivkit.hooks.specs import Offer, hookimpl


@hookimpl
def engines() -> list[Offer]:
    """Offer the process that a command runs in."""
    return [Offer("local", "frivkit_engines.local:open_local", "this process, batch by batch")]
