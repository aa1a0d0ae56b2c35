"""A model: an ONNX graph in memory, its origin, its inputs and its outputs."""

import hashlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, fields
from math import prod
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir import Graph
from onnx_ir import Model as OnnxModel

from frivkit.data import TensorSpec
from frivkit.errors import ModelError
from frivkit.files import open_regular

T = TypeVar("T")


class GivenTensor(ir.Tensor[Any]):
    """Numbers that the user gives for an input of the file, which stays an input of it."""


class RunTensor(ir.Tensor[Any]):
    """Numbers that a graph computes from sizes which the file leaves open, as one run gives them.

    Attributes:
        source: The name of the tensor that is computed.
        before: The numbers, whatever is changed in them when units leave.
        graph: The graph that computes it.
    """

    def __init__(
        self,
        array: NDArray[Any],
        source: str,
        before: NDArray[Any],
        graph: Graph,
        name: str,
    ) -> None:
        """Take the numbers of a run."""
        super().__init__(array, name=name)
        self.source, self.before, self.graph = source, before, graph


@dataclass(frozen=True, slots=True, repr=False)
class Model:
    """A network, read from a file of any format.

    Attributes:
        ir: The graph.  It is shared and never edited: edit a clone.
        path: The file, for messages and provenance.
        format: The name of the provider that read it, for example ``"onnx"``.
        sha256: SHA-256 of the file; with external data, of the SHA-256s of all its files.
        inputs: Name, type and shape of each input, without the batch axis.
        batch: The batch size that the file requires, None if any is allowed.
        metadata: Key-value pairs that the file carries.
        changes: A sentence for each change that was made on reading, so that the model can be
            analysed.  If there is one, the graph is not that of the file, and no model is written
            from it.
        interface: What the file says of its inputs, outputs and tensors, an ``Interface`` of the
            module ``frivkit.graph.interface``; None for a graph that was read from no file.
        notes: A sentence for each change that was made on reading and that files made from it keep,
            and for each thing that the file does not say and that is assumed.
        operators: Operators that plugins add, by name: ``Operators`` of the module
            ``frivkit.graph.operators.operator``, which stands above this one.
        varying: The outputs of which an example has as many rows as its input makes it have, with
            the axis of these rows in a run of one example; known after an output was checked.
    """

    ir: OnnxModel
    path: Path
    format: str
    sha256: str
    inputs: tuple[TensorSpec, ...]
    batch: int | None
    metadata: Mapping[str, str] = field(default_factory=dict)
    changes: tuple[str, ...] = ()
    interface: Any = None
    notes: tuple[str, ...] = ()
    operators: Mapping[str, Any] = field(default_factory=dict)
    varying: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Note that the graph is not edited any more; see :func:`remembered`."""
        _REMEMBERED.setdefault(self.ir.graph, {})

    def __reduce__(self) -> Any:
        """Return what makes it again in another process: all that it was made of."""
        return Model, tuple(getattr(self, each.name) for each in fields(self))

    def __repr__(self) -> str:
        inputs = ", ".join(
            f"{spec.name} {spec.dtype} ({', '.join(['n', *map(str, spec.shape)])})"
            for spec in self.inputs
        )
        return f"<frivkit model {self.path}: {self.parameters:,} parameters, inputs {inputs}>"

    @property
    def identity(self) -> str:
        """What results depend on: the digest, and that of the numbers given for inputs if any."""
        given: Mapping[str, NDArray[Any]] = {} if self.interface is None else self.interface.given
        if not given:
            return self.sha256
        total = hashlib.sha256(self.sha256.encode())
        for name, array in sorted(given.items()):
            total.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
        return total.hexdigest()

    @property
    def has_open_sizes(self) -> bool:
        """Whether other sizes than the number of examples may change from run to run."""
        if any(None in spec.shape for spec in self.inputs):
            return True
        return self.interface is not None and bool(self.interface.open_sizes())

    @property
    def graph(self) -> Graph:
        """The main graph."""
        return self.ir.graph

    def output(self, name: str | None = None) -> str:
        """Return the name of the output whose labels are compared.

        Args:
            name: The requested output; None takes the first.

        Raises:
            ModelError: the model has no output of that name.
        """
        names = [value.name or "" for value in self.graph.outputs]
        if name is None:
            return names[0]
        if name not in names:
            raise ModelError(f"{self.path.name} has no output {name!r}; it has {', '.join(names)}")
        return name

    @property
    def parameters(self) -> int:
        """The number of weights, each counted once; see :func:`parameters`."""
        return parameters(self.graph)


def parameters(graph: ir.Graph) -> int:
    """Return the number of weights of a graph, each counted once.

    They are its floating-point constants, and the whole numbers that DequantizeLinear makes real
    ones of: quantized weights and biases, but not their zero points.
    """
    return sum(prod(t.shape.numpy()) for t in {id(t): t for t in _weights(graph)}.values())


Provider = Callable[[Path, Mapping[str, str]], Model]
"""A model provider: a function from a file and options to a model.

The options are any of ``input_shape`` (as in ``--input-shape``), ``inputs`` (numbers for inputs
without examples by name, as JSON), ``scalars`` (single numbers of the data, likewise, for inputs
that take one number), ``data`` (a data spec), ``memory`` (bytes) and ``trust`` (``"yes"``: the file
may run code).
"""


def _weights(graph: ir.Graph) -> Iterator[ir.TensorProtocol]:
    return (tensor for value, tensor in _constants(graph) if _is_weight(value, tensor))


def _constants(graph: ir.Graph) -> Iterator[tuple[ir.Value, ir.TensorProtocol]]:
    for value in graph.initializers.values():
        if value.const_value is not None and not isinstance(value.const_value, GivenTensor):
            yield value, value.const_value
    for node in graph:
        for output in node.outputs:
            tensor = constant_tensor(output)
            if node.op_type == "Constant" and tensor is not None and len(tensor.shape) > 0:
                yield output, tensor


def _is_weight(value: ir.Value, tensor: ir.TensorProtocol) -> bool:
    return tensor.dtype.is_floating_point() or any(
        use.node.op_type == "DequantizeLinear" and use.idx == 0 for use in value.uses()
    )


def constant_tensor(value: ir.Value | None) -> ir.TensorProtocol | None:
    """Return the tensor of an initializer or of a Constant node's output, None for other values."""
    if value is None:
        return None
    if value.is_graph_input() and not value.is_initializer():
        return None
    if value.const_value is not None:
        return value.const_value
    return ir.convenience.get_const_tensor(value)


_REMEMBERED: WeakKeyDictionary[Graph, dict[Hashable, Any]] = WeakKeyDictionary()
"""What was worked out of the graphs of models, which are not edited."""


def remembered(graph: Graph | None, key: Hashable, work_out: Callable[[], T]) -> T:
    """Return what is worked out of a graph; of that of a :class:`Model`, it is worked out once.

    Args:
        graph: The graph, None for none.
        key: What is worked out; the same for the same result.
        work_out: Works it out.
    """
    found = None if graph is None else _REMEMBERED.get(graph)
    if found is None:  # the graph may still be edited
        return work_out()
    if key not in found:
        found[key] = work_out()
    result: T = found[key]
    return result


def is_constant(value: ir.Value) -> bool:
    """Whether a value is the same in every run: a weight or computed from weights alone.

    All values of the graph of a :class:`Model` are looked at once, together.  In a graph that may
    still be edited, the nodes that the value is computed by are followed at each call.
    """
    graph = value.graph
    if graph is None or graph not in _REMEMBERED:
        return _is_constant_now(value)
    return id(value) in remembered(graph, "constants", lambda: _constant_values(graph))


def _constant_values(graph: Graph) -> Set[int]:
    """Return the ids of the constant values of a graph, whose nodes are sorted."""
    values = [*graph.initializers.values(), *graph.inputs]
    constants = {id(value) for value in values if _is_stored(value)}
    for node in graph:
        computed = not _varies(node) and all(v is None or id(v) in constants for v in node.inputs)
        constants.update(id(value) for value in node.outputs if computed or _is_stored(value))
    return constants


def _is_constant_now(value: ir.Value) -> bool:
    pending, seen = [value], set()
    while pending:
        current = pending.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        if _is_stored(current):
            continue
        node = current.producer()
        if node is None or _varies(node):
            return False
        pending.extend(v for v in node.inputs if v is not None)
    return True


def _is_stored(value: ir.Value) -> bool:
    return value.is_initializer() or value.const_value is not None


def _varies(node: ir.Node) -> bool:
    """Whether the outputs of a node may change though its inputs do not."""
    return bool(subgraphs(node)) or node.op_type in RANDOM


RANDOM = frozenset(
    [
        "RandomNormal",
        "RandomUniform",
        "RandomNormalLike",
        "RandomUniformLike",
        "Bernoulli",
        "Multinomial",
    ]
)


def subgraphs(node: ir.Node) -> list[ir.Graph]:
    """Return the subgraphs of a node: the branches of an If, the body of a Loop or a Scan."""
    graphs: list[ir.Graph] = []
    for attr in node.attributes.values():
        if attr.type == ir.AttributeType.GRAPH:
            graphs.append(attr.as_graph())
        elif attr.type == ir.AttributeType.GRAPHS:
            graphs.extend(attr.as_graphs())
    return graphs


def consumed_values(node: ir.Node) -> list[ir.Value]:
    """Return the values that a node consumes, those that its subgraphs take from outside last."""
    consumed = [value for value in node.inputs if value is not None]
    for body in subgraphs(node):
        inner = {id(v) for n in body for v in n.outputs} | {id(v) for v in body.inputs}
        inner |= {id(v) for v in body.initializers.values()}
        inside = [v for n in body for v in consumed_values(n)] + list(body.outputs)
        consumed.extend(v for v in inside if id(v) not in inner)
    return consumed


def signature(graph: ir.Graph, name: str) -> tuple[tuple[TensorSpec, ...], int | None]:
    """Return the inputs of a graph for one example, and the batch size that it requires.

    Args:
        graph: The main graph; initializers that are also listed as inputs are no inputs.
        name: The model's name, for messages.

    Returns:
        Name, type and shape of each input without the batch axis; the batch size, None if any is
        allowed.

    Raises:
        ModelError: an input has no shape, no batch axis, or a type that is no tensor.
    """
    specs: list[TensorSpec] = []
    batches: dict[int | None, str] = {}  # the first input of each number of examples
    for value in graph.inputs:
        if value.is_initializer():
            continue
        if not isinstance(value.type, ir.TensorType) or value.dtype == ir.DataType.STRING:
            raise ModelError(
                f"input {value.name!r} of {name} is a {value.type}, not a tensor of numbers; "
                "give a model that takes those"
            )
        if value.dtype is None or value.shape is None:
            raise ModelError(f"input {value.name!r} of {name} has no shape: give --input-shape")
        if len(value.shape) == 0:
            raise ModelError(
                f"input {value.name!r} of {name} has no axis for examples: give its value by "
                f"--input {value.name}=VALUE, or as a single number of that name in the data"
            )
        sizes = [size if isinstance(size, int) and size > 0 else None for size in value.shape]
        batches.setdefault(sizes[0], value.name or "")
        dtype = value.dtype.numpy().name
        specs.append(TensorSpec(value.name or "", dtype, tuple(sizes[1:])))
    if not specs:
        raise ModelError(f"{name} has no inputs: there is nothing to run it on")
    fixed = [batch for batch in batches if batch is not None]
    if len(fixed) > 1:
        raise ModelError(
            f"input {batches[fixed[1]]!r} of {name} has {fixed[1]} examples where "
            f"{batches[fixed[0]]!r} has {fixed[0]}; if it has no axis for examples, give its value "
            f"by --input {batches[fixed[1]]}=VALUE,..."
        )
    return tuple(specs), fixed[0] if fixed else None


def digest(files: Iterable[Path]) -> str:
    """Return the SHA-256, in hexadecimal, of a model's files: its own, then its external data.

    Of one file it is the SHA-256 of its content, as ``sha256sum`` prints it; of several, that of
    their SHA-256s one after another, 32 bytes each.
    """
    parts = []
    for part in files:
        with open_regular(part) as stream:
            parts.append(hashlib.file_digest(stream, "sha256"))
    if len(parts) == 1:
        return parts[0].hexdigest()
    return hashlib.sha256(b"".join(each.digest() for each in parts)).hexdigest()


def external_tensor(tensor: ir.TensorProtocol | None) -> ir.ExternalTensor | None:
    """Return the tensor in a file of its own that a tensor is or stands for, None if none."""
    raw = tensor.raw() if isinstance(tensor, ir.LazyTensor) else tensor
    return raw if isinstance(raw, ir.ExternalTensor) else None


def external_files(model: ir.Model) -> list[Path]:
    """Return the files of external data that a model refers to, sorted by name."""
    tensors = [tensor for graph in model.graphs() for _, tensor in _constants(graph)]
    stored = map(external_tensor, tensors)
    return sorted({Path(tensor.path) for tensor in stored if tensor is not None})
