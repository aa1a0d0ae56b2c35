"""Offers of this plugin: a provider for ONNX files."""

from frivkit.hooks.specs import Offer, hookimpl


@hookimpl
def model_providers() -> list[Offer]:
    """Offer the ONNX provider."""
    return [Offer("onnx", "frivkit_onnx.provider:load", "ONNX files (.onnx), weights mapped")]
