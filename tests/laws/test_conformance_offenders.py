"""Rules of selectors, sources, operators and providers fail on targets that break them."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from frivkit.data import TensorSpec
from frivkit.errors import ModelError
from frivkit.graph.layout import Layout
from frivkit.graph.operators.edits import NodeContext, SliceOperand, unchanged
from frivkit.graph.operators.effects import Consumed, Kept, Untraceable
from frivkit.graph.operators.operator import Operator, Weights
from frivkit.graph.operators.table import OPERATORS
from frivkit.testing.conformance import LawError, OperatorExample, check_operator
from frivkit.testing.tiny_models import twin_units, write
from frivkit_onnx.provider import load
from frivkit_unit_selectors.selectors import MAP
from tests.laws.broken import fails

# --- unit selectors ---


class Selector:
    """The selector ``map`` with some methods replaced."""

    name = "offender"

    def __init__(self, **replaced: Callable[..., Any]) -> None:
        for method in ("count", "mask", "rows", "axes"):
            setattr(self, method, replaced.get(method, getattr(MAP, method)))


def without_axes() -> Any:
    selector = Selector()
    del selector.axes
    return selector


SELECTORS = [
    ("shape", without_axes(), "it has no axes"),
    ("shape", Selector, "it is a class"),
    ("count", Selector(count=lambda site: 0), "expected at least 1 unit, found 0"),
    ("mask", Selector(mask=lambda site, keep: keep), "does not broadcast"),
    ("mask", Selector(mask=lambda site, keep: 1 * MAP.mask(site, keep)), "truth values"),
    (
        "mask",
        Selector(mask=lambda site, keep: MAP.mask(site, keep & (np.arange(len(keep)) > 0))),
        "masked though all units are kept",
    ),
    (
        "mask",
        Selector(mask=lambda site, keep: MAP.mask(site, np.full(len(keep), keep.all()))),
        "have no entries",
    ),
    ("rows", Selector(rows=lambda site, x: x.reshape(len(x), -1)), "expected 3 columns"),
    ("rows", Selector(rows=lambda site, x: MAP.rows(site, x - x.mean(axis=0))), "beside it"),
    ("columns", Selector(rows=lambda site, x: MAP.rows(site, x)[:, ::-1]), "change columns"),
    ("off", Selector(rows=lambda site, x: MAP.rows(site, x) + 1), "is not 0"),
    (
        "order",
        Selector(rows=lambda site, x: MAP.rows(site, x) * (1 + np.arange(site.width))),
        "in another order",
    ),
    ("axes", Selector(axes=lambda site: (0,)), "expected None or axes from 1"),
    (
        "axes",
        Selector(axes=lambda site: tuple(range(1, len(site.shape) + 1))),
        "of which it counts",
    ),
    (
        "axes",
        Selector(rows=lambda site, x: np.sqrt(np.abs(MAP.rows(site, x)))),
        "are not those of its rows",
    ),
]


@pytest.mark.parametrize(("rule", "selector", "says"), SELECTORS)
def test_unit_selector(rule, selector, says):
    fails(rule, "unit_selectors", says, selector)


def test_unit_selector_that_declines_every_site():
    def decline(site):
        raise ModelError("no such layers")

    fails("count", "unit_selectors", "every site is declined", Selector(count=decline))


# --- data sources ---


class Source:
    """Ten rows that are numbered, with one part replaced."""

    def __init__(self, **replaced: Any) -> None:
        self.examples = 10
        self.digest = f"{0:064x}"
        self.columns = {"x": TensorSpec("x", "float32", (2,)), "y": TensorSpec("y", "int64", ())}
        self.add, self.seen = 0.0, 0
        vars(self).update(replaced)

    def read(self, start: int, stop: int) -> Mapping[str, np.ndarray]:
        self.seen += 1
        x = np.repeat(np.arange(start, stop, dtype=np.float32)[:, None], 2, axis=1) + self.add
        return {"x": x, "y": np.arange(start, stop) % 3}


class Forgetful(Source):
    def read(self, start, stop):
        rows = super().read(start, stop)
        return {"x": rows["x"] * (stop - start), "y": rows["y"]}


class Drifting(Source):
    def read(self, start, stop):
        rows = super().read(start, stop)
        return {"x": rows["x"] + self.seen, "y": rows["y"]}


def opens(make: Callable[[], Source], *, checks: bool = True) -> Callable[..., Source]:
    def factory(spec, inputs):
        if checks:
            spec.check_keys("seed")
        source = make()
        source.add += float(spec.options.get("seed", 0))
        return source

    return factory


HALF = {"x": TensorSpec("x", "float16", (2,)), "y": TensorSpec("y", "int64", ())}
OPEN = {"x": TensorSpec("x", "float32", (None,))}
SOURCES = [
    ("columns", lambda: Source(examples=0), "at least 1 example"),
    ("columns", lambda: Source(columns={}), "it has no columns"),
    ("columns", lambda: Source(columns=HALF), "expected float16 (10, 2), found float32"),
    ("columns", lambda: Source(columns=OPEN), "sizes open"),
    ("columns", lambda: Source(columns={"z": TensorSpec("z", "int8", ())}), "is gone"),
    ("batches", Forgetful, "has other bytes in batches of"),
    ("batches", Drifting, "has other bytes"),
    ("digest", lambda: Source(digest="abc"), "64 hexadecimal digits"),
    ("digest", lambda: Source(digest=f"{np.random.default_rng().integers(1 << 60):064x}"), "again"),
    ("labels", lambda: Source(classes=2), "labels from 0 to 2 of 2 classes"),
]


@pytest.mark.parametrize(("rule", "make", "says"), SOURCES)
def test_data_source(rule, make, says):
    fails(rule, "data_sources", says, opens(make), "offender")


def test_data_source_whose_digest_is_not_of_its_content():
    fails("digest", "data_sources", "other rows", opens(Source), "a", other="a?seed=1")
    fails("digest", "data_sources", "the same rows", opens(Source), "a", other="a?seed=0")


def test_data_source_that_ignores_unknown_keys():
    fails("keys", "data_sources", "silently ignored", opens(Source, checks=False), "offender")


def test_data_source_that_does_not_fit_the_model():
    inputs = [TensorSpec("x", "float32", (3,))]
    fails("dataset", "data_sources", "DataError", opens(Source), "offender", inputs=inputs)


# --- operators ---

RELU, VECTOR = "y = Relu (x)", {"x": (4,)}
CUMSUM = OperatorExample("y = CumSum (x, a)", {"x": (4,)}, {"a": np.array(1, np.int64)})
ADD = OperatorExample("y = Add (x, b)", VECTOR, {"b": np.ones(4, np.float32)})


def kept(node: Any, index: int, layout: Layout) -> Kept:
    return Kept(layout)


def bent(node: Any, index: int, layout: Layout) -> Kept:
    return Kept(layout, nonlinear=True)


def reversed_units(node: Any, index: int, layout: Layout) -> Kept:
    return Kept(Layout(layout.axes, layout.units[::-1].copy()), nonlinear=True)


def wrong_part(given: NodeContext) -> list[SliceOperand]:
    """Slice the bias as if other units were removed."""
    return [SliceOperand(1, 0, ids[::-1]) for ids in given.output.values()]


DENSE = OPERATORS["Gemm"]
GEMM = OperatorExample(
    "y = Gemm (x, w)", VECTOR, {"w": np.arange(12, dtype=np.float32).reshape(4, 3)}
)
OFFENDING_OPERATORS = [
    (
        "run",
        "Relu",
        Operator(bent),
        OperatorExample("y = org.example.None (x)", VECTOR, domains={"org.example": 1}),
        "neither",
    ),
    (
        "run",
        "org.example.None",
        Operator(bent),
        OperatorExample("y = org.example.None (x)", VECTOR),
        "give domains={'org.example': 1}",
    ),
    ("run", "Relu", Operator(bent), OperatorExample("y = Relu x", VECTOR), "ONNX's notation"),
    ("name", "Tanh", Operator(bent), OperatorExample(RELU, VECTOR), "one of Relu"),
    ("propagate", "CumSum", Operator(kept, unchanged), CUMSUM, "unit 0 changes positions"),
    ("propagate", "Relu", Operator(reversed_units), OperatorExample(RELU, VECTOR), "unit 0"),
    (
        "propagate",
        "Relu",
        Operator(lambda *_: Untraceable("unknown")),
        OperatorExample(RELU, VECTOR),
        "untraceable in every example",
    ),
    (
        "propagate",
        "Relu",
        Operator(lambda *_: 1 / 0),
        OperatorExample(RELU, VECTOR),
        "ZeroDivision",
    ),
    (
        "layout",
        "Relu",
        Operator(lambda *_: Kept(Layout.of(1, 5), nonlinear=True)),
        OperatorExample(RELU, VECTOR),
        "units of shape (5,)",
    ),
    ("mixes", "Gemm", Operator(lambda *_: Consumed()), GEMM, "without mixes=True"),
    ("nonlinear", "Relu", Operator(kept), OperatorExample(RELU, VECTOR), "not set"),
    ("nonlinear", "Add", Operator(bent), ADD, "the node is affine"),
    ("nonlinear", "Relu", Operator(kept, nonlinear=True), OperatorExample(RELU, VECTOR), "is so"),
    (
        "elementwise",
        "Softmax",
        Operator(bent, elementwise=True),
        OperatorExample("y = Softmax (x)", VECTOR, rescales=(1,)),
        "changes others",
    ),
    ("narrow", "Add", Operator(kept, unchanged), ADD, "cannot be run"),
    (
        "narrow",
        "Add",
        Operator(kept, wrong_part),
        OperatorExample("y = Add (x, b)", VECTOR, {"b": np.arange(4, dtype=np.float32)}),
        "away from those of the original",
    ),
    (
        "narrow",
        "Softmax",
        Operator(bent, unchanged),
        OperatorExample("y = Softmax (x)", VECTOR, rescales=(1,)),
        "can be removed",
    ),
    (
        "weights",
        "Gemm",
        dataclasses.replace(DENSE, weights=Weights(lambda node: Layout.of(1, 4), lambda node: 1)),
        GEMM,
        "units of shape (4,)",
    ),
    (
        "weights",
        "Gemm",
        dataclasses.replace(DENSE, weights=Weights(lambda node: Layout.of(1, 3), lambda node: 0)),
        GEMM,
        "0 multiply-accumulates",
    ),
]


@pytest.mark.parametrize(("rule", "name", "operator", "example", "says"), OFFENDING_OPERATORS)
def test_operator(rule, name, operator, example, says):
    fails(rule, "operator_rules", says, {name: operator}, {name: [example]})


def test_operator_without_an_example():
    fails("examples", "operator_rules", "has no example", {"Relu": OPERATORS["Relu"]}, {})


def test_operator_of_no_runtime_is_run_by_an_implementation_of_its_own():
    from onnx.reference.op_run import OpRun

    class Twice(OpRun):
        op_domain = "org.example"

        def _run(self, x):
            return (2 * x,)

    example = OperatorExample(
        "y = org.example.Twice (x)", VECTOR, domains={"org.example": 1}, implementations=(Twice,)
    )
    checked = check_operator("org.example.Twice", Operator(kept, unchanged), example)
    assert checked == ("x, axis 1: Kept, 3 groups removed",)
    with pytest.raises(LawError, match="rule nonlinear"):
        check_operator("org.example.Twice", Operator(bent, unchanged), example)


# --- model providers ---


@pytest.fixture
def twins(tmp_path) -> Path:
    (tmp_path / "twins").mkdir()
    return write(twin_units(), tmp_path / "twins" / "twins.onnx")


def clumsy(path: Path, options: Mapping[str, str]) -> Any:
    model = load(path, options)
    (path.parent / "left.tmp").touch()
    return model


def scaling(path: Path, options: Mapping[str, str]) -> Any:
    model = load(path, options)
    value = model.graph.initializers["w2"]
    value.const_value = ir.tensor(2 * value.const_value.numpy(), name="w2")
    return model


def lazy(path: Path, options: Mapping[str, str]) -> Any:
    model = load(path, options)
    value = model.graph.initializers["w2"]
    value.const_value = ir.LazyTensor(
        lambda: ir.load(path).graph.initializers["w2"].const_value,
        dtype=value.const_value.dtype,
        shape=value.const_value.shape,
        name="w2",
    )
    return model


def careless(path: Path, options: Mapping[str, str]) -> Any:
    return (
        load(path, options) if path.stat().st_size > 100 else path.read_text(encoding="ascii")[99]
    )


def lenient(path: Path, options: Mapping[str, str]) -> Any:
    return load(path, options) if path.stat().st_size > 100 else None


PROVIDERS = [
    ("shape", lambda path: None, "does not take 2 arguments"),
    ("model", lambda path, options: path, "it returns a PosixPath"),
    (
        "inputs",
        lambda path, options: dataclasses.replace(load(path, options), inputs=()),
        "its graph",
    ),
    (
        "digest",
        lambda path, options: dataclasses.replace(load(path, options), sha256="0"),
        "64 hexadecimal digits",
    ),
    (
        "digest",
        lambda path, options: dataclasses.replace(
            load(path, options), sha256=f"{abs(hash(path)):064x}"
        ),
        "that of a copy",
    ),
    ("outputs", scaling, "away from the file's"),
    ("detached", lazy, "cannot be run"),
    ("unchanged", clumsy, "left.tmp changed"),
    ("errors", careless, "is a IndexError"),
    ("errors", lenient, "is opened"),
]


@pytest.mark.parametrize(("rule", "provider", "says"), PROVIDERS)
def test_model_provider(rule, provider, says, twins):
    x = {"x": np.ones((4, 2), np.float32)}
    fails(rule, "model_providers", says, provider, twins, x)
