"""What this plugin offers."""

from frivkit.hooks.specs import Offer, hookimpl


@hookimpl
def trainers() -> list[Offer]:
    """Offer recipes that train a network."""
    return [
        Offer("lab", "frivkit_trainers.lab:LAB", "the paper's optimisers and schedules, resumable"),
        Offer("sgd", "frivkit_trainers.sgd:SGD", "gradient descent with momentum, as in the paper"),
    ]
