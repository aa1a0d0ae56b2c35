"""What of a model is studied."""

from dataclasses import dataclass

from frivkit.errors import UsageError
from frivkit.graph.sites.site_map import Site

PROTOCOLS = ("paper", "reference")


@dataclass(frozen=True, slots=True)
class Scope:
    """What of a model is studied, and by whose definitions.

    Attributes:
        output: The output whose labels are compared; None takes the first.
        sites: The sites under study, in the order of the graph; None takes all.
        units: The unit selector that a user asked for; None lets each metric take its own.
        protocol: ``"paper"`` or ``"reference"``.
        whole: Whether sites that are not all stand for the whole network.
    """

    output: str | None = None
    sites: tuple[Site, ...] | None = None
    units: str | None = None
    protocol: str = "paper"
    whole: bool = False

    def __post_init__(self) -> None:
        """Raise if there is no such protocol."""
        if self.protocol not in PROTOCOLS:
            raise UsageError(
                f"no protocol is named {self.protocol!r}; known: {', '.join(PROTOCOLS)}"
            )
