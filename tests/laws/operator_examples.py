"""Nodes of operators that frivkit knows, of each family some."""

from collections.abc import Mapping, Sequence

import numpy as np

from frivkit.testing.conformance import OperatorExample as Example

GENERATOR = np.random.default_rng(0)
MAPS = {"x": (4, 3, 4)}


def drawn(*shape: int) -> np.ndarray:
    return GENERATOR.standard_normal(shape).astype(np.float32)


def whole(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


EXAMPLES: Mapping[str, Sequence[Example]] = {
    "Relu": [Example("y = Relu (x)", {"x": (4,)})],
    "PRelu": [Example("y = PRelu (x, s)", MAPS, {"s": np.abs(drawn(4, 1, 1))})],
    "Cast": [Example("y = Cast <to = 11> (x)", MAPS)],
    "Add": [
        Example("y = Add (x, z)", {"x": (4,), "z": (4,)}),
        Example("y = Add (x, b)", MAPS, {"b": drawn(4, 1, 1)}),
    ],
    "Mul": [Example("y = Mul (x, z)", {"x": (4, 3, 4), "z": (4, 1, 1)})],
    "Div": [Example("y = Div (b, x)", {"x": (4,)}, {"b": drawn(4)}, low=0.5)],
    "BatchNormalization": [
        Example(
            "y = BatchNormalization (x, s, b, m, v)",
            MAPS,
            {"s": drawn(4), "b": drawn(4), "m": drawn(4), "v": np.abs(drawn(4))},
        )
    ],
    "InstanceNormalization": [
        Example(
            "y = InstanceNormalization (x, s, b)",
            MAPS,
            {"s": drawn(4), "b": drawn(4)},
            rescales=(2, 3),
        )
    ],
    "LRN": [Example("y = LRN <size = 3> (x)", MAPS, rescales=(1,))],
    "Softmax": [
        Example("y = Softmax <axis = 1> (x)", {"x": (4,)}, rescales=(1,)),
        Example("y = Softmax <axis = 1> (x)", {"x": (3, 5)}, rescales=(1,)),
        Example("y = Softmax <axis = -1> (x)", MAPS, opset=11, rescales=(3,)),
    ],
    "MaxPool": [Example("y = MaxPool <kernel_shape = [2, 2]> (x)", MAPS)],
    "GlobalAveragePool": [Example("y = GlobalAveragePool (x)", MAPS)],
    "Pad": [Example("y = Pad (x, p)", MAPS, {"p": whole(0, 0, 1, 1, 0, 0, 1, 1)})],
    "Resize": [
        Example(
            "y = Resize (x, e, s)",
            MAPS,
            {"e": np.zeros(0, np.float32), "s": np.array([1, 1, 2, 2], np.float32)},
        )
    ],
    "ReduceMean": [Example("y = ReduceMean <axes = [2, 3], keepdims = 0> (x)", MAPS)],
    "Slice": [
        Example(
            "y = Slice (x, s, e, a)", {"x": (6, 4)}, {"s": whole(1), "e": whole(5), "a": whole(1)}
        )
    ],
    "Concat": [Example("y = Concat <axis = 1> (x, z)", {"x": (4, 2), "z": (5, 2)})],
    "Split": [Example("a, b = Split <axis = 1> (x)", {"x": (6, 3)})],
    "Gather": [Example("y = Gather <axis = 1> (x, n)", {"x": (5, 4)}, {"n": whole(2, 0, 1)})],
    "Transpose": [Example("y = Transpose <perm = [0, 2, 1]> (x)", {"x": (4, 5)})],
    "Reshape": [Example("y = Reshape (x, n)", MAPS, {"n": whole(0, -1)})],
    "Flatten": [Example("y = Flatten (x)", {"x": (4, 2, 3)})],
    "MatMul": [
        Example("y = MatMul (x, w)", {"x": (3, 5)}, {"w": drawn(5, 4)}),
        Example("y = MatMul (x, z)", {"x": (3, 5), "z": (5, 4)}),
    ],
    "Gemm": [Example("y = Gemm (x, w, b)", {"x": (5,)}, {"w": drawn(5, 4), "b": drawn(4)})],
    "Conv": [
        Example("y = Conv (x, w)", MAPS, {"w": drawn(5, 4, 2, 2)}),
        Example("y = Conv <group = 4> (x, w)", MAPS, {"w": drawn(4, 1, 2, 2)}),
    ],
    "ConvTranspose": [Example("y = ConvTranspose (x, w)", MAPS, {"w": drawn(4, 5, 2, 2)})],
    "DepthToSpace": [
        Example('y = DepthToSpace <blocksize = 2, mode = "DCR"> (x)', {"x": (12, 2, 3)}),
        Example('y = DepthToSpace <blocksize = 2, mode = "CRD"> (x)', {"x": (12, 2, 3)}),
    ],
    "SpaceToDepth": [Example("y = SpaceToDepth <blocksize = 2> (x)", {"x": (4, 2, 4)})],
    "Col2Im": [
        Example(
            "y = Col2Im (x, image, block)",
            {"x": (12, 6)},
            {"image": whole(4, 3), "block": whole(2, 2)},
            opset=18,
        )
    ],
    "GridSample": [
        Example("y = GridSample (x, g)", {"x": (4, 3, 3), "g": (2, 2, 2)}, opset=20, low=-1, high=1)
    ],
    "CenterCropPad": [
        Example("y = CenterCropPad <axes = [2, 3]> (x, n)", MAPS, {"n": whole(2, 5)}, opset=18),
        Example("y = CenterCropPad <axes = [1, 2]> (x, n)", MAPS, {"n": whole(4, 5)}, opset=18),
    ],
    "Det": [Example("y = Det (x)", {"x": (4, 3, 3)})],
    "Trilu": [Example("y = Trilu (x)", {"x": (4, 3, 3)})],
    "DFT": [
        Example("y = DFT <axis = 2> (x)", {"x": (4, 5, 1)}),
        Example("y = DFT (x, , a)", {"x": (4, 5, 1)}, {"a": np.array(2)}, opset=20),
    ],
    "ArgMax": [Example("y = ArgMax <axis = 2, keepdims = 0> (x)", MAPS)],
    "TopK": [Example("y, i = TopK <axis = 2> (x, k)", MAPS, {"k": whole(2)})],
    "CumSum": [Example("y = CumSum (x, a)", MAPS, {"a": np.array(2)})],
    "ReverseSequence": [
        Example(
            "y = ReverseSequence <batch_axis = 3, time_axis = 2> (x, n)",
            MAPS,
            {"n": whole(1, 2, 3, 2)},
        )
    ],
    "ReduceProd": [Example("y = ReduceProd <axes = [2, 3], keepdims = 0> (x)", MAPS)],
    "ReduceLogSumExp": [Example("y = ReduceLogSumExp <axes = [-1]> (x)", MAPS)],
    "ReduceL2": [Example("y = ReduceL2 (x, a)", MAPS, {"a": whole(2, 3)}, opset=18)],
    "Hardmax": [
        Example("y = Hardmax <axis = 2> (x)", {"x": (4, 5)}, rescales=(2,)),
        Example("y = Hardmax <axis = 1> (x)", {"x": (4, 5)}, opset=11, rescales=(1, 2)),
    ],
    "LogSoftmax": [
        Example("y = LogSoftmax <axis = 1> (x)", {"x": (4, 5)}, rescales=(1,)),
        Example("y = LogSoftmax <axis = 1> (x)", {"x": (4, 5)}, opset=11, rescales=(1, 2)),
    ],
}
