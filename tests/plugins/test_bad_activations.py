"""Every metric that is installed, on layers and data that leave little to measure.

Each gives a number, or says why there is none, or refuses in one line; nothing else comes of it:
no NaN, no warning (they are errors here) and no traceback.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from frivkit.errors import FrivkitError, ModelError
from frivkit.hooks.registry import installed
from frivkit.measure.metric import Measurement
from frivkit.measure.pipeline import Analysis, Request, analyze
from frivkit.provenance import Clock
from frivkit.report.document import analysis_document
from tests.contract import complaints
from tests.handmade import written

METRICS = sorted(installed().offers("metrics"))
ROWS, UNITS = 260, 3  # enough for the reference protocol, which takes full batches of 128
SWISH = "s = Sigmoid (a) u = Mul (a, s)"
"""A nonlinearity that makes NaN of minus infinity."""
WITHOUT_NAN = "n = IsNaN (b) e = Tanh (a) f = MatMul (e, wb) y = Where (n, f, b)"
"""The end of a network whose outputs are finite where activations are NaN."""


@dataclass(frozen=True)
class Case:
    """A network and the data it is given.

    Attributes:
        model: Gives the network.
        x: The inputs.
        y: The data's own labels; None for two that take turns.
    """

    model: Callable[[], onnx.ModelProto]
    x: np.ndarray
    y: np.ndarray | None = None


def net(
    units: int = UNITS, *, act: str = "u = Relu (a)", end: str = "y = Identity (b)", **more: Any
) -> Callable[[], onnx.ModelProto]:
    """Return a network whose first layer hands its inputs on, ``scale`` times as large."""
    dtype, scale = more.get("dtype", np.float32), more.get("scale", 1.0)
    kind = {np.float16: "float16", np.float32: "float", np.float64: "double"}[dtype]
    text = f"""g ({kind}[N, {units}] x) => ({kind}[N, 2] y) {{
      a = MatMul (x, wa)
      {act}
      b = MatMul (u, wb)
      {end}
    }}"""
    out = np.column_stack([np.linspace(1, 2, units), np.linspace(2, 1, units)])
    weights = {"wa": scale * np.eye(units), "wb": out}
    return lambda: written(text, **{name: w.astype(dtype) for name, w in weights.items()})


def deep() -> onnx.ModelProto:
    """Two layers, of which the second is dead."""
    return written(
        f"""g (float[N, {UNITS}] x) => (float[N, 2] y) {{
          a = MatMul (x, wa)
          u = Relu (a)
          b = MatMul (u, wb)
          v = Relu (b)
          y = MatMul (v, wc)
        }}""",
        wa=np.eye(UNITS, dtype=np.float32),
        wb=-np.eye(UNITS, dtype=np.float32),
        wc=(UNITS, 2),
    )


def maps() -> onnx.ModelProto:
    return written(
        f"""g (float[N, {UNITS}, 3, 3] x) => (float[N, 2] y) {{
          a = Conv (x, wa)
          u = Relu (a)
          p = GlobalAveragePool (u)
          f = Flatten (p)
          y = MatMul (f, wb)
        }}""",
        wa=np.eye(UNITS, dtype=np.float32)[:, :, np.newaxis, np.newaxis],
        wb=(UNITS, 2),
    )


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(1, 2, shape).astype(np.float32)


def spoilt(value: float) -> np.ndarray:
    x = drawn(ROWS, UNITS)
    x[ROWS // 2, 1] = value
    return x


CASES = {
    "constant data": Case(net(), np.full((ROWS, UNITS), 0.1, np.float32)),
    "constant data in double precision": Case(
        net(dtype=np.float64), np.tile([0.1, 0.3, 1 / 7], (ROWS, 1))
    ),
    "one constant unit": Case(net(), drawn(ROWS, UNITS) * np.float32([1, 0, 1])),
    "all units dead": Case(net(), -drawn(ROWS, UNITS)),
    "one layer dead": Case(deep, drawn(ROWS, UNITS)),
    "maps all dead": Case(maps, -drawn(ROWS, UNITS, 3, 3)),
    "fewer rows than units": Case(net(9), drawn(4, 9)),
    "two examples": Case(net(), drawn(2, UNITS)),
    "one example": Case(net(), drawn(1, UNITS)),
    "one example of maps": Case(maps, drawn(1, UNITS, 3, 3)),
    "infinite activations": Case(net(scale=1e38, end="y = Tanh (b)"), spoilt(10.0)),
    "activations that are NaN": Case(net(scale=1e38, act=SWISH, end=WITHOUT_NAN), spoilt(-10.0)),
    "activations too large to square": Case(net(), spoilt(1e30)),
    "halves": Case(net(dtype=np.float16), drawn(ROWS, UNITS).astype(np.float16)),
    "constant halves": Case(net(dtype=np.float16), np.full((ROWS, UNITS), 0.1, np.float16)),
    "infinite halves": Case(
        net(dtype=np.float16, scale=3e4, end="y = Tanh (b)"), spoilt(4.0).astype(np.float16)
    ),
    "a layer of one unit": Case(net(1), drawn(ROWS, 1)),
    "labels of one class": Case(net(), drawn(ROWS, UNITS), np.full(ROWS, 7)),
}


@pytest.mark.parametrize(
    ("protocol", "units"), [("paper", "map"), ("paper", "location"), ("reference", "map")]
)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("metric", METRICS)
def test_metric_gives_a_number_or_says_why_not(
    metric: str, case: str, protocol: str, units: str, tmp_path: Path
) -> None:
    given = CASES[case]
    onnx.save(given.model(), tmp_path / "n.onnx")
    y = np.arange(len(given.x)) % 2 if given.y is None else given.y
    np.savez(tmp_path / "d.npz", x=given.x, y=y)
    request = Request(
        tmp_path / "n.onnx", data=f"npz:{tmp_path / 'd.npz'}", protocol=protocol, units=units
    )
    analysis: Analysis | None = None
    refusal = ""
    try:
        analysis = analyze(request, [metric])
    except FrivkitError as error:
        refusal = str(error)
    if analysis is None:
        assert refusal
        assert "\n" not in refusal
        return
    assert analysis.measurements
    for measurement in analysis.measurements:
        check(measurement)
        if measurement.scope == "layer":
            declared = installed().load("metrics", metric).per_unit
            assert ("per_unit" in measurement.detail) == declared
    assert complaints(analysis_document(analysis, Clock.start())) == []


def check(found: Measurement) -> None:
    """Fail unless every number is finite and what is undefined is said to be."""
    if found.value is None:
        note = found.detail.get("note")
        assert isinstance(note, str), f"{found.layer}: no value and no word on it"
        assert "\n" not in note
    else:
        assert math.isfinite(found.value)
    json.dumps([found.interval, dict(found.detail)], allow_nan=False)
    for column in found.detail.get("per_unit", {}).values():
        assert len(column) == found.detail["units"]


OF_ACTIVATIONS = (
    "correlation", "dead-units", "predictability", "redundancy", "selectivity", "similarity",
)  # fmt: skip


def measured(folder: Path, case: str, metric: str, **options: str) -> Measurement:
    """Measure the one layer of a case."""
    given = CASES[case]
    onnx.save(given.model(), folder / "n.onnx")
    np.savez(folder / "d.npz", x=given.x, y=np.arange(len(given.x)) % 2)
    request = Request(folder / "n.onnx", data=f"npz:{folder / 'd.npz'}")
    return analyze(request, [metric], options).measurements[-1]


@pytest.mark.parametrize("case", ["infinite activations", "activations that are NaN"])
@pytest.mark.parametrize("metric", OF_ACTIVATIONS)
def test_meter_of_activations_refuses_those_that_are_not_finite(
    metric: str, case: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="layer a gives activations that are"):
        measured(tmp_path, case, metric)


@pytest.mark.parametrize("exact", ["false", "true"])
def test_constant_units_are_constant_whatever_rounding_leaves(tmp_path: Path, exact: str) -> None:
    """0.1 and its like are no float32, which is what sums are taken about."""
    case = "constant data in double precision"
    redundancy = measured(tmp_path, case, "redundancy", exact=exact)
    assert (redundancy.value, redundancy.detail["constant_units"]) == (1.0, UNITS)
    assert measured(tmp_path, case, "predictability", exact=exact).value is None
    assert measured(tmp_path, case, "dead-units", exact=exact).detail["constant_units"] == UNITS


def test_unit_alone_is_not_predicted(tmp_path: Path) -> None:
    found = measured(tmp_path, "a layer of one unit", "predictability")
    assert found.value == 0.0
    assert "only one unit varies" in found.detail["note"]
