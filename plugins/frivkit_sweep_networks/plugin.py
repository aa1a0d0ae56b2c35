"""Offers of this plugin: the planner of single networks, and the recipes of CNNs."""

from frivkit.hooks.specs import Offer, hookimpl


@hookimpl
def planners() -> list[Offer]:
    """Offer the planner of single networks."""
    return [
        Offer(
            "networks",
            "frivkit_sweep_networks.planner:plan",
            "any architecture, trainer and metric",
        )
    ]


@hookimpl
def recipes() -> list[Offer]:
    """Offer the paper's experiments on CIFAR-10 and ImageNet."""
    summaries = {
        "fig1": "accuracy by width (fig3, fig4a and fig4c)",
        "fig2": "AlexNets on CIFAR-10: ablation curves, correlations",
        "fig3": "ResNet18 and Inception-v3 on ImageNet",
        "fig4a": "AlexNets and ResNet56s on CIFAR-10, random labels too",
        "fig4b": "AlexNets on CIFAR-10 by regulariser",
        "fig4c": "AlexNets on CIFAR-10 by normal initial weights",
        "e1": "trainable parameters of all networks",
        "e2": "units that are not frivolous (fig3)",
        "e3": "units that are not frivolous (fig4a to fig4d)",
        "e4": "Inception-v3 on ImageNet by layer",
        "e5": "Inception-v3 on ImageNet with one layer of other widths",
        "e6": "AlexNets on CIFAR-10 by uniform initial weights",
        "e10": "ResNet18 on ImageNet by batch size",
        "e11": "AlexNets and ResNet56s on CIFAR-10 by batch size",
        "e12": "ResNet18 on ImageNet in its last epochs",
        "cifar-epochs": "AlexNets on CIFAR-10 in their last epochs",
        "alexnet-random-inits": "AlexNets on random labels by initial weights",
        "alexnet-optimisers": "AlexNets on CIFAR-10 by optimiser",
        "alexnet-activations": "AlexNets on CIFAR-10 by activation",
        "alexnet-k": "AlexNets on CIFAR-10 by regulariser and batch size",
    }
    return [
        Offer(
            name, f"frivkit_sweep_networks.recipe_files:{name.upper().replace('-', '_')}", summary
        )
        for name, summary in summaries.items()
    ]
