"""Networks so small that the values of metrics can be computed by hand.

Each function returns a network with input ``x`` and output ``y``, and states its formula.
Units are numbered from 0; layers are called ``first``, ``second`` and so on.  A test writes a
network to a file and analyses it, or runs it by :func:`evaluate`, which does not use ONNX Runtime.

Example:
    >>> import tempfile
    >>> from pathlib import Path
    >>> from frivkit.measure.pipeline import Request, inspect_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write(twin_units(), Path(folder) / "twins.onnx")
    ...     model, site_map = inspect_model(Request(path))
    >>> [(site.layer, site.width) for site in site_map.sites]
    [('first', 3)]
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike, NDArray

HEADER = '<ir_version: 8, opset_import: ["" : 17]>'


def evaluate(
    model: ir.Model, x: ArrayLike, zeroed: Mapping[str, ArrayLike] | None = None
) -> NDArray[Any]:
    """Return the outputs of a network, computed by ONNX's own reference evaluator.

    Args:
        model: A network with input ``x`` and output ``y``.
        x: Examples, shape (n, *example); they become float32.
        zeroed: Factors for tensors by name, arrays that broadcast to the tensor, with 0 for units
            that are off and 1 elsewhere.  Consumers of the tensor read the product.

    Returns:
        The output, shape (n, ...).

    Example:
        >>> evaluate(twin_units(), [[1, 2]]).tolist()
        [[2.0, 4.0]]
        >>> evaluate(twin_units(), [[1, 2]], {"h": [0, 1, 1]}).tolist()
        [[1.0, 4.0]]
    """
    from onnx import helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    proto: Any = ir.to_proto(model)
    for name, factor in (zeroed or {}).items():
        at = next(i for i, node in enumerate(proto.graph.node) if name in node.output)
        proto.graph.node[at].output[0] = f"{name} before"
        node = helper.make_node("Mul", [f"{name} before", f"{name} factor"], [name])
        proto.graph.node.insert(at + 1, node)
        tensor = numpy_helper.from_array(np.asarray(factor, np.float32), f"{name} factor")
        proto.graph.initializer.append(tensor)
    outputs: NDArray[Any]
    (outputs,) = ReferenceEvaluator(proto).run(["y"], {"x": np.asarray(x, np.float32)})
    return outputs


def write(model: ir.Model, path: Path) -> Path:
    """Write a network to a file and return its path.

    Raises:
        OSError: the file cannot be written.
    """
    ir.save(model, path)
    return path


def own_classes() -> ir.Model:
    """Return two units, one for each class: ``h = relu(x)``, ``y = h``.

    The label is 1 if ``x1 > max(x0, 0)``, else 0 (of equal entries the first counts).  Without
    unit 0 it is 1 if ``x1 > 0``; without unit 1 it is always 0.

    Example:
        >>> evaluate(own_classes(), [[2, 1], [1, 2], [-1, -2]]).tolist()
        [[2.0, 1.0], [1.0, 2.0], [0.0, 0.0]]
    """
    return _model("""(float[N, 2] x) => (float[N, 2] y)
      <float[2, 2] w1 = {1, 0, 0, 1}, float[2, 2] w2 = {1, 0, 0, 1}> {
        [first] a = MatMul (x, w1)
        h = Relu (a)
        [second] y = MatMul (h, w2)
    }""")


def dead_unit() -> ir.Model:
    """Return three units of which the last is never on: ``h = relu(x0, x1, -1)``, ``y = (h0, h1)``.

    Unit 2 is 0 for every input: without it nothing changes, and it correlates with nothing.

    Example:
        >>> evaluate(dead_unit(), [[2, 1]], {"h": [1, 1, 0]}).tolist()
        [[2.0, 1.0]]
    """
    return _model("""(float[N, 2] x) => (float[N, 2] y)
      <float[2, 3] w1 = {1, 0, 0, 0, 1, 0}, float[3] b1 = {0, 0, -1},
       float[3, 2] w2 = {1, 0, 0, 1, 5, 7}> {
        [first] a = Gemm (x, w1, b1)
        h = Relu (a)
        [second] y = MatMul (h, w2)
    }""")


def constant_unit() -> ir.Model:
    """Return three units of which the last is always 1.

    ``h = relu(x0, x1, 1)``, ``y = (h0 + h2, h1)``.

    Unit 2 has no variance and so no correlation, but without it the first output falls by 1.

    Example:
        >>> evaluate(constant_unit(), [[1, 2]]).tolist()
        [[2.0, 2.0]]
        >>> evaluate(constant_unit(), [[1, 2]], {"h": [1, 1, 0]}).tolist()
        [[1.0, 2.0]]
    """
    return _model("""(float[N, 2] x) => (float[N, 2] y)
      <float[2, 3] w1 = {1, 0, 0, 0, 1, 0}, float[3] b1 = {0, 0, 1},
       float[3, 2] w2 = {1, 0, 0, 1, 1, 0}> {
        [first] a = Gemm (x, w1, b1)
        h = Relu (a)
        [second] y = MatMul (h, w2)
    }""")


def twin_units() -> ir.Model:
    """Return two equal units and a third: ``h = relu(x0, x0, x1)``, ``y = (h0 + h1, 2 h2)``.

    Units 0 and 1 correlate with 1; the three have rank 2.  Either twin can replace both if the
    weights that read it are doubled.  Without one of them the first output is halved.

    Example:
        >>> evaluate(twin_units(), [[1, 2], [-1, 3]]).tolist()
        [[2.0, 4.0], [0.0, 6.0]]
    """
    return _model("""(float[N, 2] x) => (float[N, 2] y)
      <float[2, 3] w1 = {1, 1, 0, 0, 0, 1},
       float[3, 2] w2 = {1, 0, 1, 0, 0, 2}> {
        [first] a = MatMul (x, w1)
        h = Relu (a)
        [second] y = MatMul (h, w2)
    }""")


def dependent_unit() -> ir.Model:
    """Return a unit that is the sum of two: ``h = relu(x0, x1, x0 + x1)``, ``y = (h0, h1 + h2)``.

    If no input is negative the three have rank 2 although no two of them are alike.

    Example:
        >>> evaluate(dependent_unit(), [[1, 2]]).tolist()
        [[1.0, 5.0]]
    """
    return _model("""(float[N, 2] x) => (float[N, 2] y)
      <float[2, 3] w1 = {1, 0, 1, 0, 1, 1},
       float[3, 2] w2 = {1, 0, 0, 1, 0, 1}> {
        [first] a = MatMul (x, w1)
        h = Relu (a)
        [second] y = MatMul (h, w2)
    }""")


def either_side() -> ir.Model:
    """Return two classes in one output: ``h = relu(x, -x)``, ``y = sigmoid(h0 - h1) = sigmoid(x)``.

    The label is 1 if ``y > 0.5``, that is if ``x > 0``.  Without unit 0 it is always 0;
    without unit 1 it does not change.

    Example:
        >>> (evaluate(either_side(), [[3], [-3]]) > 0.5).tolist()
        [[True], [False]]
    """
    return _model("""(float[N, 1] x) => (float[N, 1] y)
      <float[1, 2] w1 = {1, -1}, float[2, 1] w2 = {1, -1}> {
        [first] a = MatMul (x, w1)
        h = Relu (a)
        [second] b = MatMul (h, w2)
        y = Sigmoid (b)
    }""")


def maps() -> ir.Model:
    """Return two maps of 2 x 2 positions: ``h = relu(x)``, ``y_c`` the sum over map ``c``.

    As maps there are 2 units, as locations 8.  Without position (i, j) of map c, ``y_c`` falls by
    ``relu(x_cij)``.

    Example:
        >>> x = [[[[1, 2], [3, 4]], [[5, 0], [0, -1]]]]
        >>> evaluate(maps(), x).tolist()
        [[10.0, 5.0]]
        >>> evaluate(maps(), x, {"h": [[[0]], [[1]]]}).tolist()
        [[0.0, 5.0]]
    """
    return _model("""(float[N, 2, 2, 2] x) => (float[N, 2] y)
      <float[2, 2, 1, 1] w1 = {1, 0, 0, 1},
       float[8, 2] w2 = {1, 0, 1, 0, 1, 0, 1, 0, 0, 1, 0, 1, 0, 1, 0, 1}> {
        [first] a = Conv (x, w1)
        h = Relu (a)
        f = Flatten (h)
        [second] y = MatMul (f, w2)
    }""")


def residual() -> ir.Model:
    """Return a sum of two layers: ``h = relu(x)``, ``s = relu(h + 2 h)``, ``y = s = 3 relu(x)``.

    The hook point of ``first`` is ``h``, that of ``second`` is ``s``, behind the sum.  Unit i of
    both can only be removed together.

    Example:
        >>> evaluate(residual(), [[1, -1]]).tolist()
        [[3.0, 0.0]]
        >>> evaluate(residual(), [[1, 1]], {"h": [0, 1]}).tolist()
        [[0.0, 3.0]]
    """
    return _model("""(float[N, 2] x) => (float[N, 2] y)
      <float[2, 2] w1 = {1, 0, 0, 1}, float[2, 2] w2 = {2, 0, 0, 2},
       float[2, 2] w3 = {1, 0, 0, 1}> {
        [first] a = MatMul (x, w1)
        h = Relu (a)
        [second] b = MatMul (h, w2)
        sum = Add (h, b)
        s = Relu (sum)
        [third] y = MatMul (s, w3)
    }""")


def side_by_side() -> ir.Model:
    """Return two parallel layers: ``h = relu(x)``, ``g = tanh(x0)``, ``y = (h0 + h1, g)``.

    ``third`` reads both from one tensor, in which the unit of ``second`` has position 2.

    Example:
        >>> evaluate(side_by_side(), [[0, 2]]).tolist()
        [[2.0, 0.0]]
    """
    return _model("""(float[N, 2] x) => (float[N, 2] y)
      <float[2, 2] w1 = {1, 0, 0, 1}, float[2, 1] w2 = {1, 0},
       float[3, 2] w3 = {1, 0, 1, 0, 0, 1}> {
        [first] a = MatMul (x, w1)
        h = Relu (a)
        [second] b = MatMul (x, w2)
        g = Tanh (b)
        both = Concat <axis = 1> (h, g)
        [third] y = MatMul (both, w3)
    }""")


def gate() -> ir.Model:
    """Return a layer that gates another: ``h = relu(x)``, ``g = relu(x1, x0)``, ``y = h * g``.

    So ``y = (relu(x0) relu(x1), relu(x1) relu(x0))``; unit i of
    both can only be removed together.

    Example:
        >>> evaluate(gate(), [[2, 3], [2, -3]]).tolist()
        [[6.0, 6.0], [0.0, 0.0]]
    """
    return _model("""(float[N, 2] x) => (float[N, 2] y)
      <float[2, 2] w1 = {1, 0, 0, 1}, float[2, 2] w2 = {0, 1, 1, 0},
       float[2, 2] w3 = {1, 0, 0, 1}> {
        [first] a = MatMul (x, w1)
        h = Relu (a)
        [second] b = MatMul (x, w2)
        g = Relu (b)
        product = Mul (h, g)
        [third] y = MatMul (product, w3)
    }""")


def depthwise() -> ir.Model:
    """Return a depthwise convolution: ``h = relu(x)``, ``g = relu(c h_c)``.

    Map c (0 or 1) of ``second`` depends on map c of ``first`` alone and is removed with it.  Map 0
    of ``g`` is always 0.  ``y_c`` is the sum of the positions of map c of ``g``.

    Example:
        >>> evaluate(depthwise(), [[[[1, 2]], [[3, 4]]]]).tolist()
        [[0.0, 7.0]]
    """
    return _model("""(float[N, 2, 1, 2] x) => (float[N, 2] y)
      <float[2, 2, 1, 1] w1 = {1, 0, 0, 1}, float[2, 1, 1, 1] w2 = {0, 1},
       float[4, 2] w3 = {1, 0, 1, 0, 0, 1, 0, 1}> {
        [first] a = Conv (x, w1)
        h = Relu (a)
        [second] b = Conv <group = 2> (h, w2)
        g = Relu (b)
        f = Flatten (g)
        [third] y = MatMul (f, w3)
    }""")


TINY_MODELS: Mapping[str, Callable[[], ir.Model]] = {
    model.__name__: model
    for model in (
        own_classes,
        dead_unit,
        constant_unit,
        twin_units,
        dependent_unit,
        either_side,
        maps,
        residual,
        side_by_side,
        gate,
        depthwise,
    )
}
"""All of them by name, for tests that every metric must pass."""


def _model(text: str) -> ir.Model:
    return ir.from_onnx_text(f"{HEADER} tiny {text}")
