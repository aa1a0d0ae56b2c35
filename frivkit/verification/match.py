"""Whether two models can be compared: the same inputs, and outputs that say the same things."""

from dataclasses import replace

from frivkit.data import TensorSpec
from frivkit.errors import ModelError
from frivkit.graph.model import Model


def common_inputs(original: Model, compressed: Model) -> tuple[TensorSpec, ...]:
    """Return the inputs that both models take, in the original's order.

    A size that one leaves open is the other's.

    Raises:
        ModelError: a name, a number type or a size differs.
    """
    mine, theirs = (sorted(tensor.name for tensor in m.inputs) for m in (original, compressed))
    if mine != theirs:
        raise ModelError(
            f"{original.path} takes {', '.join(mine)} and {compressed.path} takes "
            f"{', '.join(theirs)}: only models with the same inputs can be compared; "
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
            f"input {one.name!r} of {original.path} is {_said(one)} and that of {compressed.path} "
            f"is {_said(other)} (without the batch): only models with the same inputs can be "
            "compared; give a file made from the original without changing them"
        )
    return replace(one, shape=tuple(b if a is None else a for a, b in pairs))


def _said(tensor: TensorSpec) -> str:
    return f"{tensor.dtype} {str(tensor.shape).replace('None', 'any')}"


def common_output(original: Model, compressed: Model, asked: str | None) -> tuple[str, str]:
    """Return the output of each model that is compared.

    That of the thin model has the original's name, else its place.

    Raises:
        ModelError: the original has no such output, or the thin model neither.
    """
    mine = original.output(asked)
    names = [value.name or "" for value in compressed.graph.outputs]
    if mine in names:
        return mine, mine
    place = [value.name for value in original.graph.outputs].index(mine)
    if place < len(names):
        return mine, names[place]
    raise ModelError(
        f"{compressed.path} has no output {mine!r} nor one in place {place + 1} to compare with "
        f"that of {original.path}; it has {', '.join(names)}: choose another by --output-name"
    )
