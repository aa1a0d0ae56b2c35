"""Names of nodes and layers that a user can read and type, for files of any exporter."""

import re
from collections.abc import Iterable

import onnx_ir as ir

_WEIGHT = re.compile(r"^(?P<layer>.+?)[./](?:weight|kernel|W)(?::0)?$")


def node_label(node: ir.Node) -> str:
    """Return a node's name, or its operator and output if the file leaves it unnamed.

    Example:
        >>> node_label(ir.Node("", "Relu", [], outputs=[ir.Value(name="r")]))
        'Relu(r)'
    """
    if node.name:
        return node.name
    output = node.outputs[0].name if node.outputs else ""
    return f"{node.op_type}({output})"


def layer_names(nodes: Iterable[ir.Node]) -> dict[int, str]:
    """Return a name for the layer of each weighted node; no two are equal.

    1. A weight called ``features.0.weight`` gives ``features.0``.
    2. Else the node's name gives one, without the operator at its end:
       ``/features/features.0/Conv`` becomes ``features.0``.
    3. Else the name is the operator and a number, ``Conv_3``.

    Returns:
        The name of each node's layer by ``id(node)``.
    """
    names: dict[int, str] = {}
    taken: set[str] = set()
    unnamed: dict[str, int] = {}
    counts: dict[str, int] = {}
    for node in nodes:
        name = _from_weight(node) or _from_path(node)
        if not name:
            unnamed[node.op_type] = unnamed.get(node.op_type, -1) + 1
            name = f"{node.op_type}_{unnamed[node.op_type]}"
        free = name
        while free in taken:
            counts[name] = counts.get(name, 1) + 1
            free = f"{name}#{counts[name]}"
        names[id(node)] = free
        taken.add(free)
    return names


def _from_weight(node: ir.Node) -> str | None:
    for value in node.inputs[1:2]:
        match = _WEIGHT.match(value.name or "") if value is not None else None
        if match:
            return match["layer"]
    return None


def _from_path(node: ir.Node) -> str | None:
    parts: list[str] = []
    for part in (node.name or "").strip("/").split("/"):
        if parts and part.startswith(f"{parts[-1]}."):  # "features/features.0" says it twice
            parts.pop()
        parts.append(part)
    if len(parts) > 1 and re.fullmatch(rf"{node.op_type}(_\d+)?", parts[-1]):
        parts.pop()
    return ".".join(parts) or None
