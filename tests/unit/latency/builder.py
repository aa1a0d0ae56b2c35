"""Networks of a few convolutions, with widths above the blocks of all machines."""

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from frivkit.graph.model import Model
from tests.nets import opened

SIDE = 6


class Builder:
    """Builds a network node by node; ``x`` is its input, of 3 channels unless told otherwise."""

    def __init__(self, channels=3, dtype=np.float32):
        self.nodes, self.weights, self.dtype = [], [], np.dtype(dtype)
        self.generator = np.random.default_rng(0)
        self.widths = {"x": channels}

    def conv(self, source, outputs, kernel=1, groups=1, stride=1):
        name = self._name("conv")
        shape = (outputs, self.widths[source] // groups, kernel, kernel)
        inputs = [source, self._weight(f"{name}.weight", shape), self._weight(f"{name}.b", outputs)]
        pads, strides = [kernel // 2] * 4, [stride] * 2
        return self._node("Conv", inputs, name, outputs, group=groups, pads=pads, strides=strides)

    def relu(self, source):
        return self._node("Relu", [source], self._name("relu"), self.widths[source])

    def softmax(self, source):
        return self._node("Softmax", [source], self._name("softmax"), self.widths[source], axis=1)

    def add(self, one, other):
        return self._node("Add", [one, other], self._name("add"), self.widths[one])

    def pool(self, source, op="MaxPool"):
        more = {} if op.startswith("Global") else {"kernel_shape": [2, 2], "strides": [1, 1]}
        return self._node(op, [source], self._name("pool"), self.widths[source], **more)

    def concat(self, *sources):
        width = sum(self.widths[source] for source in sources)
        return self._node("Concat", list(sources), self._name("concat"), width, axis=1)

    def split(self, source):
        half = self.widths[source] // 2
        names = [self._name("part"), f"{self._name('part')}b"]
        self.nodes.append(helper.make_node("Split", [source], names, axis=1, name=names[0]))
        self.widths |= dict.fromkeys(names, half)
        return names

    def dense(self, source, outputs):
        """Pool over all positions, unless that was done, and add a dense layer."""
        if not source.startswith("dense"):
            pooled = self.pool(source, "GlobalAveragePool")
            source = self._node("Flatten", [pooled], self._name("flat"), self.widths[source])
        name = self._name("dense")
        weight = self._weight(f"{name}.weight", (self.widths[source], outputs))
        return self._node("Gemm", [source, weight], name, outputs)

    def proto(self, source):
        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        sizes = ["N", self.widths["x"], SIDE, SIDE]
        graph = helper.make_graph(
            [*self.nodes, helper.make_node("Identity", [source], ["y"], name="end")],
            "net",
            [helper.make_tensor_value_info("x", kind, sizes)],
            [helper.make_tensor_value_info("y", kind, None)],
            self.weights,
        )
        opsets = [helper.make_opsetid("", 17)]
        return onnx.shape_inference.infer_shapes(
            helper.make_model(graph, opset_imports=opsets, ir_version=8)
        )

    def model(self, source, folder: Path) -> Model:
        return opened(self.proto(source), folder / "net.onnx")

    def _name(self, kind):
        return f"{kind}{len(self.nodes)}"

    def _weight(self, name, shape):
        numbers = self.generator.normal(size=shape).astype(self.dtype)
        self.weights.append(numpy_helper.from_array(numbers, name))
        return name

    def _node(self, op, inputs, name, width, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        self.widths[name] = width
        return name
