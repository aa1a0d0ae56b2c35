"""The offers of this plugin: trainers."""

from frivkit.hooks.specs import Offer, hookimpl


@hookimpl
def trainers() -> list[Offer]:
    """Offer trainers of networks."""
    return [
        Offer("lab", "frivkit_trainers.lab:LAB", "the paper's optimisers and schedules, resumable"),
        Offer("sgd", "frivkit_trainers.sgd:SGD", "gradient descent with momentum, as in the paper"),
    ]
