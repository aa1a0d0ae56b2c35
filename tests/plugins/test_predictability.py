"""Predictability against scikit-learn's regressions, and against layers worked out by hand."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression

from frivkit.errors import DataError, ModelError, UsageError
from frivkit.measure.metric import Measurement
from frivkit.measure.pipeline import Request, analyze
from tests.handmade import written


def measured(
    folder: Path, u: NDArray, protocol: str = "paper", **options: str
) -> list[Measurement]:
    """Measure a layer whose positive activations are ``u``."""
    units = u.shape[1]
    proto = written(
        f"""g (float[N, {units}] x) => (float[N, 2] y) {{
          s = MatMul (x, w)
          u = Relu (s)
          y = MatMul (u, v)
        }}""",
        w=np.eye(units, dtype=np.float32),
        v=np.ones((units, 2), np.float32) * np.float32([1, 1.1]),
    )
    onnx.save(proto, folder / "m.onnx")
    np.savez(folder / "d.npz", x=u.astype(np.float32))
    request = Request(folder / "m.onnx", data=f"npz:{folder / 'd.npz'}", protocol=protocol)
    return list(analyze(request, ["predictability"], options).measurements)


def positive(rows: int, units: int) -> NDArray:
    return np.random.default_rng(6).uniform(1, 2, size=(rows, units))


@pytest.mark.parametrize("exact", ["false", "true"])
def test_each_unit_has_the_share_that_regression_on_the_others_explains(
    tmp_path: Path, exact: str
) -> None:
    u = positive(400, 6) @ np.random.default_rng(1).uniform(0.1, 1, size=(6, 5))
    u += 0.3 * positive(400, 5)
    network, layer = measured(tmp_path, u, exact=exact)
    by_sklearn = []
    for i in range(5):
        others = np.delete(u, i, axis=1)
        by_sklearn.append(LinearRegression().fit(others, u[:, i]).score(others, u[:, i]))
    assert layer.detail["per_unit"]["value"] == pytest.approx(by_sklearn, abs=1e-4)
    assert layer.value == pytest.approx(np.mean(by_sklearn), abs=1e-4)
    assert network.value == layer.value
    assert layer.interval[0] < layer.value < layer.interval[1]


def test_copies_are_predicted_wholly_and_unrelated_units_not(tmp_path: Path) -> None:
    a, b = np.meshgrid([1.0, 2.0], [1.0, 2.0, 4.0])
    u = np.stack([a.ravel(), 3 * a.ravel(), b.ravel()], axis=1)
    found = measured(tmp_path, u)[1]
    assert found.detail["per_unit"]["value"] == pytest.approx([1, 1, 0], abs=1e-5)
    assert found.value == pytest.approx(2 / 3, abs=1e-5)


def test_sum_of_others_is_predicted_wholly_and_predicts_them(tmp_path: Path) -> None:
    u = positive(100, 2)
    found = measured(tmp_path, np.column_stack([u, u.sum(axis=1)]), exact="true")[1]
    assert found.detail["per_unit"]["value"] == pytest.approx([1, 1, 1], abs=1e-4)


def test_small_units_are_predicted_as_well_as_large_ones(tmp_path: Path) -> None:
    u = positive(200, 4)
    u[:, 1] += u[:, 0]
    plain = measured(tmp_path, u)[1].detail["per_unit"]["value"]
    scaled = measured(tmp_path, u * [1, 1e-3, 1e3, 1])[1].detail["per_unit"]["value"]
    assert scaled == pytest.approx(plain, abs=1e-4)


def test_constant_unit_has_no_value_and_does_not_count(tmp_path: Path) -> None:
    u = positive(60, 3)
    u[:, 1] = 0.1
    found = measured(tmp_path, u)[1]
    values = found.detail["per_unit"]["value"]
    assert values[1] is None
    assert found.value == pytest.approx((values[0] + values[2]) / 2)


def test_layer_without_variance_is_undefined_and_says_so(tmp_path: Path) -> None:
    network, layer = measured(tmp_path, np.ones((60, 3)))
    assert (network.value, layer.value, layer.interval) == (None, None, None)
    assert "no unit varies" in layer.detail["note"]
    assert "no unit" in network.detail["note"]


def test_no_more_rows_than_units_predict_anything_and_say_so(tmp_path: Path) -> None:
    found = measured(tmp_path, positive(5, 8), exact="true")[1]
    assert found.value == pytest.approx(1, abs=1e-4)
    assert found.detail["fewer_rows_than_units"] is True
    assert found.detail["by_chance"] == 1.0
    assert "any unit" in found.detail["note"]


def test_what_chance_predicts_is_told(tmp_path: Path) -> None:
    u = np.random.default_rng(0).normal(10, 1, size=(200, 50))
    found = measured(tmp_path, u)[1]
    assert found.detail["by_chance"] == 49 / 199
    assert found.value == pytest.approx(found.detail["by_chance"], abs=0.05)


def test_senseless_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ridge"):
        measured(tmp_path, positive(9, 3), ridge="0")
    with pytest.raises(UsageError, match="published code"):
        measured(tmp_path, positive(300, 3), protocol="reference")
    with pytest.raises(DataError, match="has one"):
        measured(tmp_path, positive(1, 3))
    u = positive(9, 3)
    u[3, 1] = 1e30
    with pytest.raises(ModelError, match="layer s gives"):
        measured(tmp_path, u)
