"""Offers of this plugin: the planner of stacked perceptrons, and their recipes."""

from frivkit.hooks.specs import Offer, hookimpl


@hookimpl
def planners() -> list[Offer]:
    """Offer the planner of stacked perceptrons."""
    return [
        Offer(
            "stacks",
            "frivkit_sweep_mlp.planner:plan",
            "perceptrons on a teacher's data, in stacks",
        )
    ]


@hookimpl
def recipes() -> list[Offer]:
    """Offer the paper's experiments with perceptrons."""
    summaries = {
        "e1-mlp": "trainable parameters of the paper's MLPs",
        "fig4d": "MLPs by inputs and initial weights",
        "e7": "MLPs of 10 inputs by spread of the initial weights",
        "e8": "MLPs of 10,000 inputs by spread of the initial weights",
        "e9": "MLPs of 10,000 inputs by optimiser",
        "mlp10-optimisers": "MLPs of 10 inputs by optimiser",
        "data-sizes": "MLPs of 10 inputs by number of training examples",
    }
    return [
        Offer(name, f"frivkit_sweep_mlp.recipe_files:{name.upper().replace('-', '_')}", summary)
        for name, summary in summaries.items()
    ]
