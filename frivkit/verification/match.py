"""The inputs and outputs by which two models can be compared."""

from collections.abc import Sequence
from dataclasses import replace

from frivkit.data import Dataset, TensorSpec
from frivkit.errors import ModelError
from frivkit.graph.model import Model
from frivkit.runtime.session import Device
from frivkit.tasks.choose import OutputTask
from frivkit.tasks.provable import provable, without_batch


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


def comparable(
    models: tuple[Model, Model],
    tasks: Sequence[OutputTask],
    first: tuple[str, str],
    *,
    data: Dataset,
    device: Device,
) -> tuple[tuple[OutputTask, ...], dict[str, str], dict[str, str]]:
    """Return what of two models can be compared.

    Args:
        models: The original and the compressed model.
        tasks: The tasks of the original, that of the first output first.
        first: The names of that output in both models.
        data: Examples, of which a few are run.
        device: Where to run them.

    Returns:
        The tasks; by the names of all their outputs those in the compressed model, the requested or
        first output first; and why other outputs are not compared, by their names.

    Raises:
        ModelError: the compressed model lacks an output of the first task, or cannot be run.
    """
    original, compressed = models
    kept, unproved = provable(original, tasks, data, device)
    names = {first[0]: first[1]}
    for name in kept[0].outputs:
        if name != first[0]:
            names[name] = common_output(original, compressed, name)[1]
    found = [kept[0]]
    for task in kept[1:]:
        try:
            pairs = dict(common_output(original, compressed, name) for name in task.outputs)
        except ModelError:
            unproved |= dict.fromkeys(
                task.outputs, f"{compressed.path} has none to compare it with"
            )
            continue
        lacking = without_batch(compressed, list(pairs.values()), data, device)
        if lacking:
            unproved |= dict.fromkeys(task.outputs, next(iter(lacking.values())))
            continue
        names |= pairs
        found.append(task)
    return tuple(found), names, unproved
