"""Offers of this plugin: the figures of the paper that have curves, and one for other networks."""

from frivkit.hooks.specs import Offer, hookimpl


@hookimpl
def figures() -> list[Offer]:
    """Offer the paper's figures by their numbers, and one for networks that are not the paper's."""
    summaries = {
        "1": "test accuracy does not fall with width",
        "2": "labels under ablation, and how alike units are, by initialisation",
        "3": "frivolous units of ImageNet networks, whole and by layer",
        "4a": "frivolous units of CIFAR-10 networks, true and random labels",
        "4b": "frivolous units of AlexNets under regularisers",
        "4c": "frivolous units of AlexNets by initialisation",
        "4d": "frivolous units of MLPs by inputs and initialisation",
        "e1": "trainable parameters",
        "e2": "units of figure 3 that are not frivolous",
        "e3": "units of figures 4a to 4d that are not frivolous",
        "e4": "frivolous units of Inception-v3 by layer",
        "e5": "the same where only one layer gets wider",
        "e6": "AlexNets by uniform initialisation",
        "e7": "MLPs of 10 inputs by spread of the initial weights",
        "e8": "MLPs of 10,000 inputs by spread of the initial weights",
        "e9": "MLPs of 10,000 inputs by optimiser",
        "e10": "ResNet18s by batch size",
        "e11": "CIFAR-10 networks by learning rate and batch size",
        "e12": "ResNet18s by epochs past convergence",
        "widths": "frivolous units of your own networks, as of frivkit advise",
    }
    return [
        Offer(name, f"frivkit_figures.paper:FIGURE_{name.upper()}", summary)
        for name, summary in summaries.items()
    ]
