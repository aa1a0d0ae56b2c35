"""Which tensors of a graph are parameters of its module, and under which keys."""

import keyword
import re
from collections.abc import Iterable, Iterator

import onnx_ir as ir
from torch import fx, nn

from frivkit.graph.model import GivenTensor
from frivkit.torch_io.from_onnx.graph import LIFTED

SETTINGS = {
    "BatchNormalization": (3, 4),  # running mean and variance
    "Clip": (1, 2),
    "DequantizeLinear": (1,),
    "Dropout": (1,),
    "Pad": (2,),
    "Pow": (1,),
    "QuantizeLinear": (1,),
    "Resize": (1, 2),
    "Upsample": (1,),
}
"""Inputs that are float tensors and no weights, by operator."""

MASKED = 1e30
"""Absolute value from which on an entry stands for infinity, as in the masks of attention."""

_UNUSABLE = re.compile(r'["\\\s]')
_TAKEN = frozenset({*dir(fx.GraphModule(nn.Module(), fx.Graph())), *dir(nn.Module())})
"""Names that are attributes of every module."""


def is_parameter(value: ir.Value) -> bool:
    """Whether an initializer is a weight, which training may change.

    These are no weights:

    1. tensors of other types than float, and single numbers (shape ``()``);
    2. single numbers in any shape that the file has as a Constant node;
    3. tensors that are read as settings only (:data:`SETTINGS`), such as running statistics;
    4. masks: tensors with an entry of :data:`MASKED` or more;
    5. numbers that are given for inputs of the file.
    """
    tensor = value.const_value
    if isinstance(tensor, GivenTensor):
        return False
    if tensor is None or not tensor.dtype.is_floating_point() or len(tensor.shape) == 0:
        return False
    if tensor.size == 0 or (tensor.size == 1 and value.meta.get(LIFTED, False)):
        return False
    if all(use.idx in SETTINGS.get(use.node.op_type, ()) for use in value.uses()):
        return False
    numbers = tensor.numpy()
    return float(numbers.max()) < MASKED and float(numbers.min()) > -MASKED


def state_keys(names: Iterable[str]) -> dict[str, str]:
    """Return the key of each tensor in the state dict of its module: its name, where torch can.

    A name is a path of modules with dots between.  An underscore stands for spaces, quotation marks
    and backslashes and for an empty part, and follows what else is not allowed: words that Python
    or torch reserve, and a tensor whose name is that of a module.

    Example:
        >>> state_keys(["layer.0.weight", "onnx::Conv_12", "layer", "forward", "a b"])
        ... # doctest: +NORMALIZE_WHITESPACE
        {'layer.0.weight': 'layer.0.weight', 'onnx::Conv_12': 'onnx::Conv_12',
         'layer': 'layer_', 'forward': 'forward_', 'a b': 'a_b'}
    """
    paths = {name: ".".join(map(_part, name.split("."))) for name in names}
    modules = {parent for path in paths.values() for parent in _parents(path)}
    keys: dict[str, str] = {}
    taken: set[str] = set()
    for name, path in paths.items():
        key = path
        while key in modules or key in taken:
            key += "_"
        taken.add(key)
        keys[name] = key
    return keys


def _part(text: str) -> str:
    part = _UNUSABLE.sub("_", text) or "_"
    return f"{part}_" if keyword.iskeyword(part) or part in _TAKEN else part


def _parents(path: str) -> Iterator[str]:
    while "." in path:
        path = path.rpartition(".")[0]
        yield path
