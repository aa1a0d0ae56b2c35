"""What this plugin offers."""

from frivkit.hookspecs import Offer, hookimpl

TARGET = "frivkit_torchscript.provider:load"


@hookimpl
def model_providers() -> list[Offer]:
    """Offer to read files of torch, whatever they are called."""
    summary = "TorchScript, and programs of torch.export; a program: needs --trust"
    return [Offer(suffix, TARGET, summary) for suffix in ("pt", "ts", "jit", "pth", "pt2")]
