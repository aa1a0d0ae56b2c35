"""One node of an operator, and how it is run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.errors import ModelError
from frivkit.runtime.session import Device, Feeds, Session

BATCHES = (24, 25)
"""Numbers of examples that a node is run on; two of them show which axes hold the batch."""


@dataclass(frozen=True, slots=True)
class OperatorExample:
    """One node of an operator.

    Attributes:
        node: The node in ONNX's own notation, such as ``"y = CumSum (x, axis)"``.
        computed: The shape of one example of each input that a network computes, by name.  The
            batch comes in front.  Give axes of units at least 4 positions.
        constants: The other inputs by name.
        opset: The version of the standard operators.
        domains: The versions of further domains of operators, that of the node among them.
        rescales: The axes along which it rescales units by statistics over several of them, as a
            softmax over units does.  Each unit then changes others, and none may be removed.
        low: The least number that is drawn for computed inputs.
        high: The largest.
        implementations: Classes of ``onnx.reference.op_run.OpRun`` for operators that ONNX Runtime
            does not have.
    """

    node: str
    computed: Mapping[str, tuple[int, ...]]
    constants: Feeds = field(default_factory=dict)
    opset: int = 17
    domains: Mapping[str, int] = field(default_factory=dict)
    rescales: tuple[int, ...] = ()
    low: float = -2.0
    high: float = 2.0
    implementations: tuple[Any, ...] = ()

    def drawn(self, seed: int, examples: int = BATCHES[0]) -> dict[str, NDArray[np.float32]]:
        """Return computed inputs that are drawn, shapes (examples, ...)."""
        generator = np.random.default_rng(seed)
        return {
            name: generator.uniform(self.low, self.high, (examples, *shape)).astype(np.float32)
            for name, shape in self.computed.items()
        }


class RunnableNode:
    """The node of an example, ready to be run.

    Args:
        example: The example.

    Raises:
        ModelError: the notation is wrong, the version of its domain is not given, or neither ONNX
            Runtime nor the reference evaluator of ONNX can run it.
    """

    def __init__(self, example: OperatorExample) -> None:
        self.example = example
        self.proto = _parsed(example)
        self.proto.name = self.proto.name or self.proto.op_type
        inputs = [
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", *shape])
            for name, shape in example.computed.items()
        ]
        outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in self.outputs]
        self._evaluator = Evaluator(self.graph_model([self.proto], inputs, outputs), example)

    @property
    def outputs(self) -> list[str]:
        """The names of its outputs."""
        return [name for name in self.proto.output if name]

    def graph_model(
        self,
        nodes: Sequence[onnx.NodeProto],
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[onnx.ValueInfoProto],
        more: Sequence[onnx.TensorProto] = (),
    ) -> onnx.ModelProto:
        """Return a model of nodes, the constants of the example included."""
        example = self.example
        constants = [
            onnx.numpy_helper.from_array(np.asarray(array), name)
            for name, array in example.constants.items()
        ]
        graph = onnx.helper.make_graph(nodes, "example", inputs, outputs, [*constants, *more])
        opsets = {"": example.opset, **example.domains}
        return onnx.helper.make_model(
            graph,
            opset_imports=[onnx.helper.make_opsetid(*each) for each in opsets.items()],
            ir_version=8,
        )

    def run(self, feeds: Feeds) -> list[NDArray[Any]]:
        """Return its outputs for computed inputs, shapes (n, ...)."""
        return self._evaluator.run(feeds, self.outputs)

    @cached_property
    def sizes(self) -> dict[str, tuple[int | None, ...]]:
        """The shape of each output with None for sizes that change with the batch."""
        few, more = (self.run(self.example.drawn(0, n)) for n in BATCHES)
        return {
            name: tuple(a if a == b else None for a, b in zip(x.shape, y.shape, strict=True))
            for name, x, y in zip(self.outputs, few, more, strict=True)
        }

    @cached_property
    def typed(self) -> list[onnx.ValueInfoProto]:
        """Its outputs with their number types and shapes."""
        arrays = self.run(self.example.drawn(0))
        return [
            onnx.helper.make_tensor_value_info(
                name,
                onnx.helper.np_dtype_to_tensor_dtype(array.dtype),
                ["N" if size is None else size for size in self.sizes[name]],
            )
            for name, array in zip(self.outputs, arrays, strict=True)
        ]

    @cached_property
    def node(self) -> ir.Node:
        """It with its shapes known, as rules see it."""
        inputs = [
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", *shape])
            for name, shape in self.example.computed.items()
        ]
        node: ir.Node = ir.from_proto(self.graph_model([self.proto], inputs, self.typed)).graph[0]
        return node


def _parsed(example: OperatorExample) -> onnx.NodeProto:
    """Return the node of an example.

    Raises:
        ModelError: the notation is wrong, or the version of its domain is not given.
    """
    try:
        node: onnx.NodeProto = onnx.parser.parse_node(example.node)
    except onnx.parser.ParseError as error:
        raise ModelError(
            f"{example.node!r} is no node in ONNX's notation, such as 'y = CumSum (x, axis)': "
            f"{error}"
        ) from error
    if node.domain and node.domain not in example.domains:
        raise ModelError(
            f"the example gives no version of the domain {node.domain}; "
            f"give domains={{{node.domain!r}: 1}}"
        )
    return node


class Evaluator:
    """A model of an example, run by ONNX Runtime if it can, else by ONNX's reference evaluator.

    Raises:
        ModelError: neither can run it.
    """

    def __init__(self, proto: onnx.ModelProto, example: OperatorExample) -> None:
        self._run: Any
        try:
            self._run = Session(ir.from_proto(proto), Device(threads=1)).run
        except ModelError as error:
            self._run = _reference(proto, example, error)

    def run(self, feeds: Feeds, outputs: Sequence[str]) -> list[NDArray[Any]]:
        """Return outputs by name, in the order asked for."""
        return [np.asarray(array) for array in self._run(dict(feeds), list(outputs))]


def _reference(proto: onnx.ModelProto, example: OperatorExample, reason: ModelError) -> Any:
    from onnx.reference import ReferenceEvaluator

    def failed(error: Exception) -> ModelError:
        return ModelError(
            f"neither ONNX Runtime ({reason}) nor the reference evaluator of ONNX "
            f"({type(error).__name__}: {error}) runs {example.node!r}"
        )

    try:
        evaluator = ReferenceEvaluator(proto, new_ops=list(example.implementations))
    except Exception as error:  # it has no base class of errors
        raise failed(error) from error

    def run(feeds: Feeds, outputs: Sequence[str]) -> Any:
        try:
            return evaluator.run(outputs, feeds)
        except Exception as error:  # operators may raise anything
            raise failed(error) from error

    return run
