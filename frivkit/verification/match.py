"""The inputs and outputs by which two models can be compared."""

from dataclasses import replace

from frivkit.data import TensorSpec
from frivkit.errors import ModelError
from frivkit.graph.model import Model


def common_inputs(original: Model, compressed: Model) -> tuple[TensorSpec, ...]:
    """Return the inputs of both models, in the original's order.

    A size that one model leaves open is taken from the other.

    Raises:
        ModelError: a name, a number type or a size differs.
    """
    first, second = (sorted(tensor.name for tensor in m.inputs) for m in (original, compressed))
    if first != second:
        raise ModelError(
            f"{original.path} takes {', '.join(first)} and {compressed.path} takes "
            f"{', '.join(second)}: only models with the same inputs can be compared; "
            "rename the inputs of one"
        )
    others = {tensor.name: tensor for tensor in compressed.inputs}
    return tuple(
        _common(original, compressed, tensor, others[tensor.name]) for tensor in original.inputs
    )


def _common(original: Model, compressed: Model, one: TensorSpec, other: TensorSpec) -> TensorSpec:
    pairs = tuple(zip(one.shape, other.shape, strict=False))
    fits = len(one.shape) == len(other.shape) and all(a == b or None in (a, b) for a, b in pairs)
    if not fits or one.dtype != other.dtype:
        raise ModelError(
            f"input {one.name!r} of {original.path} is {_describe(one)} and that of "
            f"{compressed.path} is {_describe(other)} (without the batch): only models "
            "with the same inputs can be compared; give a file made from the original without "
            "changing them"
        )
    return replace(one, shape=tuple(b if a is None else a for a, b in pairs))


def _describe(tensor: TensorSpec) -> str:
    return f"{tensor.dtype} {str(tensor.shape).replace('None', 'any')}"


def common_output(original: Model, compressed: Model, requested: str | None) -> tuple[str, str]:
    """Return the names of the outputs to compare: the original's and the compressed model's.

    The compressed model's output is the one of the same name, else the one at the same position.

    Raises:
        ModelError: one of the models has no such output.
    """
    name = original.output(requested)
    names = [value.name or "" for value in compressed.graph.outputs]
    if name in names:
        return name, name
    position = [value.name for value in original.graph.outputs].index(name)
    if position < len(names):
        return name, names[position]
    raise ModelError(
        f"{compressed.path} has no output {name!r} nor one in place {position + 1} to compare with "
        f"that of {original.path}; it has {', '.join(names)}: choose another by --output-name"
    )
