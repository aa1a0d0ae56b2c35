"""What this plugin offers."""

from frivkit.hookspecs import Offer, hookimpl


@hookimpl
def model_providers() -> list[Offer]:
    """Offer to read files of torch, whatever they are called."""
    target = "frivkit_torchscript.provider:load"
    summary = "TorchScript, and programs of torch.export; a program: needs --trust"
    return [Offer(suffix, target, summary) for suffix in ("pt", "ts", "jit", "pth", "pt2")]
