"""What this plugin offers: two bases, six rankings and five refits."""

from frivkit.hookspecs import Offer, hookimpl


@hookimpl
def refactorers() -> list[Offer]:
    """Offer the bases that a layer can be written in."""
    return [
        Offer(
            "select",
            "frivkit_lowrank.select:Select",
            "some of the units themselves, so that layers narrow",
        ),
        Offer(
            "pca",
            "frivkit_lowrank.pca:Pca",
            "main directions of what a reader makes: it becomes two thin layers",
        ),
    ]


@hookimpl
def rankings() -> list[Offer]:
    """Offer the orders in which units leave."""
    return [
        Offer(
            "backward",
            "frivkit_lowrank.rankings:backward",
            "least loss to what reads the layer, refitted, first",
        ),
        Offer(
            "cholesky",
            "frivkit_lowrank.rankings:cholesky",
            "what pivoted Cholesky of the activations picks last first",
        ),
        Offer(
            "variance",
            "frivkit_lowrank.rankings:variance",
            "least variance of the activation first",
        ),
        Offer("norm", "frivkit_lowrank.rankings:norm", "least norm of the weights first"),
        Offer("random", "frivkit_lowrank.rankings:random", "any order, drawn by the seed"),
        Offer(
            "prunable",
            "frivkit_lowrank.prunable:prunable",
            "the random order that labels withstand longest, as the paper draws it",
        ),
    ]


@hookimpl
def refits() -> list[Offer]:
    """Offer the ways in which what reads units takes over."""
    return [
        Offer("none", "frivkit_lowrank.refits:NONE", "weights stay as they are"),
        Offer("ridge", "frivkit_lowrank.refits:RIDGE", "ridge regression on original outputs"),
        Offer(
            "relu",
            "frivkit_lowrank.refits:RELU",
            "the same, then in rounds with the ReLU behind in sight",
        ),
        Offer(
            "sequential",
            "frivkit_lowrank.refits:SEQUENTIAL",
            "layer by layer on what the narrowed layers before really give",
        ),
        Offer(
            "hybrid",
            "frivkit_lowrank.refits:HYBRID",
            "prunable units are dropped, redundant ones folded into the rest",
        ),
    ]
