"""What this plugin offers: four bases, six rankings and six refits."""

from frivkit.hooks.specs import Offer, hookimpl


@hookimpl
def bases() -> list[Offer]:
    """Offer the bases: what makes a network smaller."""
    return [
        Offer(
            "auto",
            "frivkit_compressors.bases:auto",
            "all of these, and residual branches: what costs least at each step",
        ),
        Offer(
            "select",
            "frivkit_compressors.bases:select",
            "some of the units themselves, so that layers narrow",
        ),
        Offer(
            "pca",
            "frivkit_compressors.bases:pca",
            "principal directions of outputs: a node becomes two smaller ones",
        ),
        Offer(
            "separable",
            "frivkit_compressors.bases:separable",
            "a convolution of k x k becomes one of k x 1 and one of 1 x k",
        ),
    ]


@hookimpl
def rankings() -> list[Offer]:
    """Offer the orders in which units are removed."""
    return [
        Offer(
            "backward",
            "frivkit_compressors.rankings:backward",
            "least reconstruction error of refitted consumers first",
        ),
        Offer(
            "cholesky",
            "frivkit_compressors.rankings:cholesky",
            "the unit that pivoted Cholesky of the activations selects last first",
        ),
        Offer(
            "variance",
            "frivkit_compressors.rankings:variance",
            "least variance of the activation first",
        ),
        Offer("norm", "frivkit_compressors.rankings:norm", "least norm of the weights first"),
        Offer("random", "frivkit_compressors.rankings:random", "a random order, drawn by the seed"),
        Offer(
            "prunable",
            "frivkit_compressors.rankings:prunable",
            "the random order that keeps labels unchanged longest (the paper's)",
        ),
    ]


@hookimpl
def refits() -> list[Offer]:
    """Offer the ways in which the consumers of removed units compensate them."""
    return [
        Offer("none", "frivkit_compressors.refits:NONE", "weights stay as they are"),
        Offer("ridge", "frivkit_compressors.refits:RIDGE", "ridge regression on original outputs"),
        Offer(
            "relu",
            "frivkit_compressors.refits:RELU",
            "ridge, then rounds that take the ReLU behind a node into account",
        ),
        Offer(
            "sequential",
            "frivkit_compressors.refits:SEQUENTIAL",
            "layer by layer, on the outputs of the compressed layers before",
        ),
        Offer(
            "distil",
            "frivkit_compressors.refits:DISTIL",
            "sequential, then gradients towards the original's features and outputs",
        ),
        Offer(
            "hybrid",
            "frivkit_compressors.refits:HYBRID",
            "prunable units are dropped, redundant ones folded into the kept ones",
        ),
    ]
