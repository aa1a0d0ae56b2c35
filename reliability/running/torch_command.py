"""The function ``frivkit.to_torch`` as a command, which says errors as commands say them."""

import importlib
import sys

import click


def add_torch_command() -> None:
    """Let runs of this process know the command ``to_torch``."""
    from frivkit.cli import COMMANDS

    COMMANDS["to_torch"] = "Make a torch module of a model, and use it."
    sys.modules["frivkit.cli.to_torch"] = importlib.import_module(__name__)


@click.command("to_torch")
@click.argument("model")
@click.option("--tensor", "tensors", multiple=True)
def command(model: str, tensors: tuple[str, ...]) -> None:
    """Make a torch module of MODEL, run it on zeros and take gradients where there are any."""
    import torch

    import frivkit

    torch.set_num_threads(1)
    opened = frivkit.load(model)
    module = frivkit.to_torch(opened, tensors=tensors or None)
    frivkit.save(module, "again.onnx")
    inputs = [
        torch.zeros(2, *(size or 3 for size in spec.shape), dtype=getattr(torch, spec.dtype))
        for spec in opened.inputs
    ]
    if not tensors and opened.batch is None:
        found = module(*inputs)
        for each in found if isinstance(found, tuple) else (found,):
            if each.requires_grad:
                each.sum().backward(retain_graph=True)
