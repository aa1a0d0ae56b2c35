"""The networks of the kit for plugin authors compute what they say."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from frivkit.graph.sites.site_map import find_sites
from frivkit.testing.tiny_models import TINY_MODELS, evaluate, write
from frivkit_onnx.provider import load


def relu(*columns):
    return [np.maximum(column, 0) for column in columns]


def columns(*found):
    return np.stack(np.broadcast_arrays(*found), axis=1)


# What y is, of the columns of x.
FORMULAS = {
    "own_classes": lambda a, b: columns(*relu(a, b)),
    "dead_unit": lambda a, b: columns(*relu(a, b)),
    "constant_unit": lambda a, b: columns(relu(a)[0] + 1, *relu(b)),
    "twin_units": lambda a, b: columns(*(2 * h for h in relu(a, b))),
    "dependent_unit": lambda a, b: columns(*relu(a), relu(b)[0] + relu(a + b)[0]),
    "either_side": lambda a: columns(1 / (1 + np.exp(-a))),
    "maps": lambda a, b: columns(*(h.sum((1, 2)) for h in relu(a, b))),
    "residual": lambda a, b: columns(*(3 * h for h in relu(a, b))),
    "side_by_side": lambda a, b: columns(sum(relu(a, b)), np.tanh(a)),
    "gate": lambda a, b: columns(np.prod(relu(a, b), axis=0), np.prod(relu(a, b), axis=0)),
    "depthwise": lambda a, b: columns(0 * a.sum((1, 2)), relu(b)[0].sum((1, 2))),
}
# Layer: units; where sites meet.
FOUND = {
    "own_classes": ({"first": 2}, []),
    "dead_unit": ({"first": 3}, []),
    "constant_unit": ({"first": 3}, []),
    "twin_units": ({"first": 3}, []),
    "dependent_unit": ({"first": 3}, []),
    "either_side": ({"first": 2}, []),
    "maps": ({"first": 2}, []),
    "residual": ({"first": 2, "second": 2}, [("sum", 0, 0)]),
    "side_by_side": ({"first": 2, "second": 1}, [("concat", 0, 2)]),
    "gate": ({"first": 2, "second": 2}, [("product", 0, 0)]),
    "depthwise": ({"first": 2, "second": 2}, [("depthwise", 0, 0)]),
}


def drawn(model: ir.Model) -> np.ndarray:
    shape = model.graph.inputs[0].shape
    sizes = (20, *(int(size) for size in shape[1:]))
    return np.random.default_rng(0).standard_normal(sizes).astype(np.float32)


def test_every_model_has_a_formula():
    assert set(TINY_MODELS) == set(FORMULAS) == set(FOUND)


@pytest.mark.parametrize("name", TINY_MODELS)
def test_model_computes_its_formula(name):
    model = TINY_MODELS[name]()
    x = drawn(model)
    wanted = FORMULAS[name](*np.moveaxis(x, 1, 0))
    np.testing.assert_allclose(evaluate(model, x), wanted, rtol=1e-6, atol=1e-6)
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    (found,) = ort.InferenceSession(proto.SerializeToString()).run(["y"], {"x": x})
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", TINY_MODELS)
def test_sites_of_a_written_model(name, tmp_path):
    layers, meets = FOUND[name]
    found = find_sites(load(write(TINY_MODELS[name](), tmp_path / "tiny.onnx"), {}))
    assert {site.layer: site.width for site in found.sites} == layers
    assert [
        (merge_point.kind, *(part.offset for part in merge_point.parts))
        for coupling in found.couplings
        for merge_point in coupling.merge_points
    ] == meets


def test_each_call_gives_a_model_of_its_own():
    one, other = TINY_MODELS["gate"](), TINY_MODELS["gate"]()
    one.graph.outputs[0].name = "z"
    assert other.graph.outputs[0].name == "y"


def test_zeroing_changes_what_is_read_and_not_the_model():
    model = TINY_MODELS["dead_unit"]()
    before = ir.to_proto(model).SerializeToString()
    x = drawn(model)
    np.testing.assert_array_equal(evaluate(model, x, {"h": [1, 1, 0]}), evaluate(model, x))
    assert (evaluate(model, x, {"h": [0, 1, 1]})[:, 0] == 0).all()
    assert ir.to_proto(model).SerializeToString() == before
