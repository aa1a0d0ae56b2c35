"""Replace an If whose condition is the same in every run by the branch that it takes.

Exporters write an If around a Squeeze that depends on the rank or a size of a tensor.  Where that
never changes, the nodes of the branch are nodes of the graph like others, and are analysed.
"""

import numpy as np
import onnx_ir as ir

from frivkit.graph.onnx_io.evaluate import constant_array
from frivkit.graph.onnx_io.fold_shapes import remove_unused, same_for_batches
from frivkit.graph.onnx_io.limits import INITIALIZERS_ARE_NO_INPUTS
from frivkit.graph.shapes import infer_shapes


def choose_branches(model: ir.Model, *, given: bool = False) -> int:
    """Replace each If by its branch, where constants or fixed sizes decide which one it takes.

    Args:
        model: The model; it is changed, and its outputs are not.
        given: Whether numbers that were given for inputs may decide, too.

    Returns:
        How many were replaced.
    """
    count = 0
    while chosen := _decided(model, given=given):
        for node, branch in chosen:
            _put_in_place(model.graph, node, branch)
        model.ir_version = max(INITIALIZERS_ARE_NO_INPUTS, model.ir_version)
        count += len(chosen)
    return count


def _decided(model: ir.Model, *, given: bool) -> list[tuple[ir.Node, ir.Graph]]:
    """Return the nodes whose condition is known, each with the branch that it takes."""
    if not any(map(_is_if, model.graph)):
        return []
    shaped, opset = model.clone(), model.opset_imports.get("", 1)
    infer_shapes(shaped)
    found = []
    for node, twin in zip(list(model.graph), list(shaped.graph), strict=True):
        if not _is_if(node):
            continue
        condition = constant_array(node.inputs[0], opset)
        if condition is None and twin.inputs[0] is not None:
            condition = same_for_batches(shaped.graph, twin.inputs[0], opset, given=given)
        if condition is not None and condition.size == 1:
            name = "then_branch" if np.all(condition) else "else_branch"
            found.append((node, node.attributes[name].as_graph()))
    return found


def _is_if(node: ir.Node) -> bool:
    return node.op_type == "If" and node.domain in ("", "ai.onnx")


def _put_in_place(graph: ir.Graph, node: ir.Node, branch: ir.Graph) -> None:
    """Move the nodes and weights of a branch in front of its If, and remove the If."""
    results = list(branch.outputs)
    branch.outputs.clear()
    condition, nodes = node.inputs[0], list(branch)
    branch.remove(nodes)
    taken = {value.name for each in graph for value in each.outputs}
    taken |= {*graph.initializers, *(value.name for value in graph.inputs)}
    weights = list(branch.initializers.values())
    branch.initializers.clear()
    for value in [*weights, *(value for each in nodes for value in each.outputs)]:
        if value.name:
            value.name = _unused(value.name, taken)
            taken.add(value.name)
    for value in weights:
        graph.register_initializer(value)
    graph.insert_before(node, nodes)
    inside = {id(value) for each in nodes for value in each.outputs}
    for output, result in zip(node.outputs, results, strict=True):
        _let_stand(graph, node, output, result, own=id(result) in inside)
        inside.discard(id(result))
    graph.remove(node, safe=True)
    if condition is not None:
        remove_unused(graph, condition)


def _let_stand(
    graph: ir.Graph, node: ir.Node, output: ir.Value, result: ir.Value, *, own: bool
) -> None:
    """Let a result of a branch stand for an output of its If; outputs of the graph keep names."""
    if output.is_graph_output():
        name, output.name = output.name, None
        if not own:
            copy = ir.Node("", "Identity", [result], name=f"{name}/Identity")
            graph.insert_before(node, copy)
            result = copy.outputs[0]
        result.name, result.type, result.shape = name, output.type, output.shape
        for at, value in enumerate(graph.outputs):
            if value is output:
                graph.outputs[at] = result
    ir.convenience.replace_all_uses_with(output, result)


def _unused(name: str, taken: set[str | None]) -> str:
    wanted, number = name, 1
    while wanted in taken:
        wanted, number = f"{name}_{number}", number + 1
    return wanted
