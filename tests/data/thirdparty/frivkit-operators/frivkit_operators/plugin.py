"""The offers of this plugin."""

from frivkit.plugin import Offer, hookimpl


@hookimpl
def operator_rules() -> list[Offer]:
    """Offer two operators that ONNX Runtime has and frivkit does not know."""
    return [
        Offer("running-sums", "frivkit_operators.sums:OPERATORS", "CumSum over positions"),
        Offer("distances", "frivkit_operators.distances:OPERATORS", "CDist from constant centres"),
    ]
