"""What this plugin would offer."""

import a_package_that_nobody_has

from frivkit.plugin import Offer, hookimpl


@hookimpl
def metrics() -> list[Offer]:
    """Offer one metric, if ever this module can be imported."""
    return [Offer("lost", f"{a_package_that_nobody_has.__name__}:LOST", "never seen")]
