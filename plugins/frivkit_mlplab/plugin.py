"""What this plugin offers."""

from frivkit.hookspecs import Offer, hookimpl


@hookimpl
def cli_commands() -> list[Offer]:
    """Offer further subcommands."""
    return [
        Offer("sweep", "frivkit_mlplab.command:command", "repeat an experiment of the paper's MLPs")
    ]
