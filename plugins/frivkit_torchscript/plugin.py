"""Offers of this plugin: a provider for files of torch.jit.save and torch.export.save."""

from frivkit.hooks.specs import Offer, hookimpl


@hookimpl
def model_providers() -> list[Offer]:
    """Offer one provider under each suffix; the kind is read from the content of a file."""
    load = "frivkit_torchscript.provider:load"
    scripts = [
        Offer(suffix, load, f"TorchScript files (.{suffix}), with --trust")
        for suffix in ("pt", "pth", "ts", "jit")
    ]
    return [*scripts, Offer("pt2", load, "torch.export programs (.pt2), with --trust")]
