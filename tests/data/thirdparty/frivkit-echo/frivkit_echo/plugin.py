"""What this plugin offers."""

from frivkit.plugin import Offer, hookimpl


@hookimpl
def metrics() -> list[Offer]:
    """Offer one metric."""
    return [Offer("label-entropy", "frivkit_echo.entropy:METRIC", "entropy of the labels, in bits")]
