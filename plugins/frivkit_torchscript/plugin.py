"""What this plugin offers: a provider for what torch.jit.save and torch.export.save write."""

from frivkit.hooks.specs import Offer, hookimpl


@hookimpl
def model_providers() -> list[Offer]:
    """Offer one provider under each suffix; which of the two a file is, its content tells."""
    load = "frivkit_torchscript.provider:load"
    scripts = [
        Offer(suffix, load, f"TorchScript files (.{suffix}), with --trust")
        for suffix in ("pt", "pth", "ts", "jit")
    ]
    return [*scripts, Offer("pt2", load, "torch.export programs (.pt2), with --trust")]
