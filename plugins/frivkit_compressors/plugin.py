"""What this plugin offers: two bases, six rankings and five refits."""

from frivkit.hooks.specs import Offer, hookimpl


@hookimpl
def bases() -> list[Offer]:
    """Offer the bases that a layer can be written in."""
    return [
        Offer(
            "select",
            "frivkit_compressors.select:Select",
            "some of the units themselves, so that layers narrow",
        ),
        Offer(
            "pca",
            "frivkit_compressors.pca:Pca",
            "main directions of what a reader makes: it becomes two thin layers",
        ),
    ]


@hookimpl
def rankings() -> list[Offer]:
    """Offer the orders in which units leave."""
    return [
        Offer(
            "backward",
            "frivkit_compressors.rankings:backward",
            "least loss to what reads the layer, refitted, first",
        ),
        Offer(
            "cholesky",
            "frivkit_compressors.rankings:cholesky",
            "what pivoted Cholesky of the activations picks last first",
        ),
        Offer(
            "variance",
            "frivkit_compressors.rankings:variance",
            "least variance of the activation first",
        ),
        Offer("norm", "frivkit_compressors.rankings:norm", "least norm of the weights first"),
        Offer("random", "frivkit_compressors.rankings:random", "any order, drawn by the seed"),
        Offer(
            "prunable",
            "frivkit_compressors.prunable:prunable",
            "the random order that labels withstand longest, as the paper draws it",
        ),
    ]


@hookimpl
def refits() -> list[Offer]:
    """Offer the ways in which what reads units takes over."""
    return [
        Offer("none", "frivkit_compressors.refits:NONE", "weights stay as they are"),
        Offer("ridge", "frivkit_compressors.refits:RIDGE", "ridge regression on original outputs"),
        Offer(
            "relu",
            "frivkit_compressors.refits:RELU",
            "the same, then in rounds with the ReLU behind in sight",
        ),
        Offer(
            "sequential",
            "frivkit_compressors.refits:SEQUENTIAL",
            "layer by layer on what the narrowed layers before really give",
        ),
        Offer(
            "hybrid",
            "frivkit_compressors.refits:HYBRID",
            "prunable units are dropped, redundant ones folded into the rest",
        ),
    ]
