"""From a graph to a module of torch.fx, whose tensors have the names that they have in the file."""

from collections.abc import Mapping

import onnx_ir as ir
import torch
from torch import fx, nn

from frivkit.errors import FrivkitError
from frivkit.torch_io.from_onnx import operators
from frivkit.torch_io.from_onnx.weights import is_parameter, state_keys

STEM = "frivkit_tensor_"
"""The beginning of names that onnx2fx does not change, and so cannot mistake for each other."""


def translated(graph: ir.Model) -> tuple[fx.GraphModule, dict[str, str]]:
    """Return a graph as a module, and the key of each of its tensors in the module's state dict.

    Args:
        graph: A graph whose constants are initializers, which does not change.

    Raises:
        FrivkitError: onnx2fx is not installed.
        Exception: whatever onnx2fx raises where it cannot translate.
    """
    try:
        import onnx2fx
    except ModuleNotFoundError as error:
        raise FrivkitError(
            "models become torch modules by onnx2fx, which is not installed; "
            "run: pip install frivkit[to-torch]"
        ) from error
    operators.register()
    copy = graph.clone()
    operators.claim(copy)
    values = list(copy.graph.initializers.values())
    names = [value.name or "" for value in values]
    for number, value in enumerate(values):
        value.name = f"{STEM}{number}"
    module = onnx2fx.convert(ir.to_proto(copy))
    for node in list(module.graph.nodes):
        if node.op == "get_attr" and not node.users:  # onnx2fx reads each tensor of the file
            module.graph.erase_node(node)
    parameters = {f"{STEM}{i}": is_parameter(value) for i, value in enumerate(values)}
    keys = dict(zip(parameters, state_keys(names).values(), strict=True))
    used = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    by_name = {name: keys[f"{STEM}{i}"] for i, name in enumerate(names) if f"{STEM}{i}" in used}
    return _with_keys(module, keys, parameters), by_name


def _with_keys(
    module: fx.GraphModule, keys: Mapping[str, str], parameters: Mapping[str, bool]
) -> fx.GraphModule:
    """Return a module with its tensors under other keys, some of them parameters."""
    root = nn.Module()
    for node in module.graph.nodes:
        if node.op == "get_attr" and node.target in keys:
            tensor = module.get_buffer(node.target)
            trained = parameters[node.target]
            node.target = keys[node.target]
            _put(root, node.target, tensor, trained)
    for node in module.graph.nodes:
        if node.op == "call_module":  # the branches of an If, the body of a Loop
            part = module.get_submodule(node.target)
            while hasattr(root, node.target):
                node.target += "_"
            root.add_module(node.target, part)
    return fx.GraphModule(root, module.graph)


def _put(root: nn.Module, key: str, tensor: torch.Tensor, trained: bool) -> None:
    *path, leaf = key.split(".")
    for part in path:
        if not hasattr(root, part):
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    if hasattr(root, leaf):
        return  # it is read twice
    if trained:
        root.register_parameter(leaf, nn.Parameter(tensor))
    else:
        root.register_buffer(leaf, tensor)
