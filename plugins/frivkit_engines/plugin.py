"""What this plugin offers."""

from frivkit.hooks.specs import Offer, hookimpl


@hookimpl
def engines() -> list[Offer]:
    """Offer the process that a command runs in, and processes beside it."""
    return [
        Offer("local", "frivkit_engines.local:open_local", "this process, one task at a time"),
        Offer(
            "processes",
            "frivkit_engines.processes:open_processes",
            "processes:N, N processes of this machine",
        ),
    ]
