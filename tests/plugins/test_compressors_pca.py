"""The basis of principal directions against numpy on the activation matrix."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnx_ir
import pytest
from onnx import numpy_helper

from frivkit.compression.budget import Budget
from frivkit.compression.compress import Compression, compress
from frivkit.compression.constraints import Constraints
from frivkit.compression.method import Method
from frivkit.compression.plan import apply_plan, ridge_fits
from frivkit.errors import BudgetError, ModelError, UsageError
from frivkit.measure.pipeline import Request
from frivkit.provenance import Clock
from frivkit.report.compression import compression_document
from frivkit.report.compression_html import compression_page
from frivkit.report.compression_text import compression_text
from tests.contract import complaints
from tests.handmade import written
from tests.planning import ANY_WIDTH
from tests.surgery import run
from tests.unit.compression.test_compress import write_data, write_layers

PCA = Method(basis="pca")
SIZES = [(8, 40), (40, 30), (30, 5)]


@pytest.fixture
def layers() -> list[np.ndarray]:
    generator = np.random.default_rng(3)
    return [generator.normal(size=size) for size in SIZES]


@pytest.fixture
def request_(tmp_path: Path, layers: list[np.ndarray]) -> Request:
    model = write_layers(tmp_path / "m.onnx", *layers)
    return Request(model, data=write_data(tmp_path / "x.npz", 8))


def ranks(made: Compression) -> dict[str, int]:
    weights = {
        each.consumer.node: each.consumer.weight for each in made.calibration.linear_consumers
    }
    return {weights[node]: how.rank for node, how in made.plan.factorized.items()}


def foretold(made: np.ndarray, rank: int, places: int = 1) -> tuple[float, float]:
    """Return the loss on each fifth example of directions found on the others.

    Returns:
        As a share of what these vary about the mean of the others, and of what all vary.
    """
    held = np.arange(len(made) // places).repeat(places) % 5 == 4
    about = made - made[~held].mean(axis=0)
    directions = np.linalg.svd(about[~held], full_matrices=False)[2][:rank]
    lost = about[held] - about[held] @ directions.T @ directions
    mean_square = (lost**2).sum() / held.sum()
    return mean_square / ((about[held] ** 2).sum() / held.sum()), mean_square / made.var(0).sum()


@pytest.mark.parametrize("share", [0.9, 0.75, 0.5])
def test_loss_is_that_of_the_main_directions_of_what_a_node_makes(share, tmp_path, layers):
    biases = tuple(np.linspace(-1, 1, columns) for _, columns in SIZES)
    model = write_layers(tmp_path / "m.onnx", *layers, biases=biases)
    verification = write_data(tmp_path / "p.npz", 8, 50)
    request = Request(model, data=write_data(tmp_path / "x.npz", 8, 403))
    made = compress(request, None, Budget("macs", share), verify_data=verification, method=PCA)
    x, outputs = np.load(tmp_path / "x.npz")["x"].astype(np.float64), {}
    for i, (weight, bias) in enumerate(zip(layers, biases, strict=True)):
        outputs[f"l{i}.weight"] = x @ weight + bias
        x = np.maximum(outputs[f"l{i}.weight"], 0)
    assert made.plan.factorized
    total = 0.0
    for linear_consumer in made.calibration.linear_consumers:
        how = made.plan.factorized.get(linear_consumer.consumer.node)
        if how is not None:
            of_own, of_all = foretold(outputs[linear_consumer.consumer.weight], how.rank)
            assert how.error == pytest.approx(of_own, rel=1e-3)
            total += of_all
    assert made.plan.error == pytest.approx(total, rel=1e-3)


def test_loss_of_a_convolution_is_that_of_its_patches(tmp_path):
    """Four maps of 4 x 4 places, read by 3 x 3 kernels, whose outputs are there to be looked at."""
    proto = written(
        """g (float[N, 3, 4, 4] x) => (float[N, 9, 4, 4] y) {
          a = Conv <pads = [1, 1, 1, 1]> (x, wa)
          r = Relu (a)
          y = Conv <pads = [1, 1, 1, 1]> (r, wb)
        }""",
        wa=(4, 3, 3, 3), wb=(9, 4, 3, 3),
    )  # fmt: skip
    onnx.save(proto, tmp_path / "m.onnx")
    x = np.random.default_rng(2).normal(size=(60, 3, 4, 4)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    request = Request(tmp_path / "m.onnx", data=f"npz:{tmp_path / 'x.npz'}")
    made = compress(
        request,
        None,
        Budget("tolerance", 0.3),
        verify_data=request.data,
        method=PCA,
        constraints=ANY_WIDTH,
    )
    (split,) = made.plan.factorized.values()
    plan = replace(made.plan, fits=ridge_fits(made.calibration, made.plan))
    baseline, compressed = (
        run(each, {"x": x})[0].astype(np.float64).transpose(0, 2, 3, 1).reshape(-1, 9)
        for each in (made.calibration.model.ir, apply_plan(made.calibration, plan))
    )
    own, of_all = foretold(baseline, split.rank, places=16)
    assert split.error == pytest.approx(own, rel=1e-3)
    assert made.plan.error == pytest.approx(of_all, rel=1e-3)
    assert of_all <= 0.3 < foretold(baseline, split.rank - 1, places=16)[1]
    lost = ((compressed - baseline) ** 2).sum() / len(baseline)
    spectrum = np.linalg.eigvalsh(np.cov(baseline.T, bias=True))[::-1]  # factors know all examples
    assert lost == pytest.approx(spectrum[split.rank :].sum(), rel=1e-3)


def test_a_layer_of_rank_three_comes_back_at_three(tmp_path, layers):
    generator = np.random.default_rng(5)
    layers[1] = generator.normal(size=(40, 3)) @ generator.normal(size=(3, 30))
    model = write_layers(tmp_path / "m.onnx", *layers)
    request = Request(model, data=write_data(tmp_path / "x.npz", 8))
    made = compress(request, tmp_path / "t.onnx", Budget("tolerance", 1e-6), method=PCA)
    assert ranks(made)["l1.weight"] == 3
    assert made.verification.comparison.agreement.share == 1.0
    assert made.verification.comparison.main.relative_l2 < 1e-4


@pytest.mark.parametrize("kind", ["macs", "params"])
@pytest.mark.parametrize("share", [0.85, 0.6, 0.3])
def test_budgets_are_met_by_the_file_and_every_split_saves(kind, share, tmp_path, request_):
    made = compress(request_, tmp_path / "t.onnx", Budget(kind, share), method=PCA)
    costs = []
    for path in (request_.model, tmp_path / "t.onnx"):
        tensors = [numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer]
        matrices = [t for t in tensors if t.ndim == 2]
        costs.append(sum(t.size for t in (matrices if kind == "macs" else tensors)))
    step = max(m + n for m, n in SIZES) / costs[0]  # what one rank costs
    assert share - 0.15 - step < costs[1] / costs[0] <= share
    assert made.plan.factorized
    for fit in made.plan.fits:
        columns, outputs = fit.linear_consumer.matrix.shape
        assert 0 < fit.factors.rank * (columns + outputs) < columns * outputs
    assert all(flags.all() for flags in made.plan.keep.values())


def test_biases_that_splitting_adds_count_in_a_budget_of_parameters(tmp_path, layers):
    model = onnx.load(write_layers(tmp_path / "m.onnx", *layers))
    for node in model.graph.node:
        del node.input[2:]
    kept = [t for t in model.graph.initializer if t.name.endswith("weight")]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    onnx.save(model, tmp_path / "m.onnx")
    request = Request(tmp_path / "m.onnx", data=write_data(tmp_path / "x.npz", 8))
    before = sum(m * n for m, n in SIZES)
    for share in (0.9, 0.6, 0.35):
        compress(request, tmp_path / "t.onnx", Budget("params", share), method=PCA)
        compressed = onnx.load(tmp_path / "t.onnx").graph.initializer
        assert sum(int(np.prod(t.dims)) for t in compressed) <= share * before


def test_ranks_are_rounded_to_multiples(request_):
    fours = Constraints(round_to=4)
    made = compress(request_, None, Budget("macs", 0.6), method=PCA, constraints=fours)
    assert ranks(made)
    assert all(rank % 4 == 0 or rank == 1 for rank in ranks(made).values())


def test_what_means_nothing_or_cannot_be_is_refused(tmp_path, request_):
    with pytest.raises(UsageError, match="--macs or --params"):
        compress(request_, None, Budget("units", 0.5), method=PCA)
    with pytest.raises(BudgetError, match="smallest model has") as raised:
        compress(request_, None, Budget("macs", 0.01), method=PCA)
    made = compress(request_, None, Budget("macs", raised.value.least * 1.001), method=PCA)
    assert set(ranks(made).values()) == {1}
    with pytest.raises(BudgetError):
        compress(request_, None, Budget("macs", raised.value.least * 0.999), method=PCA)


def test_a_network_where_no_rank_saves_anything_is_refused(tmp_path):
    small = write_layers(tmp_path / "s.onnx", np.ones((8, 1)), np.ones((1, 3)))
    request = Request(small, data=write_data(tmp_path / "x.npz", 8))
    with pytest.raises(ModelError, match="can be factorized: no rank saves anything"):
        compress(request, tmp_path / "t.onnx", Budget("tolerance", 0.5), method=PCA)
    assert not (tmp_path / "t.onnx").exists()


def test_an_agreement_is_searched_for(tmp_path, layers):
    model = write_layers(tmp_path / "m.onnx", *layers)
    request = Request(model, data=write_data(tmp_path / "x.npz", 8, 800))
    made = compress(request, tmp_path / "t.onnx", Budget("agreement", 0.8), method=PCA)
    assert made.plan.factorized
    assert made.verification.comparison.agreement.share > 0.8


@pytest.mark.parametrize("writes", [False, True])
def test_reports_name_what_is_split_and_why_others_are_not(writes, tmp_path, request_):
    budget = Budget("macs", 0.85)
    made = compress(request_, tmp_path / "t.onnx" if writes else None, budget, method=PCA)
    document = compression_document(made, request_, Clock.start())
    assert complaints(document) == []
    told = [SimpleNamespace(**each) for each in document["factors"]]
    split = [each.node for each in told]
    assert sorted(split) == sorted(made.plan.factorized)
    shapes = {each.consumer.node: each.matrix.shape for each in made.calibration.linear_consumers}
    for each in told:
        assert (each.columns, each.outputs) == shapes[each.node]
        how = made.plan.factorized[each.node]
        assert (each.kind, each.rank, each.error) == ("pca", how.rank, how.error)
        weights = each.columns * each.outputs
        assert each.weights_left == each.rank * (each.columns + each.outputs) / weights
    assert document["kinds"]["leaving"] == 0
    assert document["budget"]["left"]["macs"] <= 0.85
    assert document["budget"]["left"]["units"] == 1
    text, page = compression_text(document), compression_page(document)
    table = text.partition("factorized node")[2].partition("\n\n")[0]
    assert all(node in table for node in split)
    assert "Factorized nodes" in page
    reasons = {skip["node"]: skip["reason"] for skip in document["skipped"] if "node" in skip}
    whole = {each.consumer.node for each in made.calibration.linear_consumers} - set(split)
    assert whole
    assert all("would lose more than it is worth" in reasons[node] for node in whole)
    assert "of the time at batch" not in page
    if writes:  # of a budget in time, the page begins with what was measured
        low, middle, high = (f"{100 * end:.1f} %" for end in document["latency"]["ratio"]["64"])
        timing = {"batch": 64, "threads": 1, "predicted": 0.5, "measured": [0.5], "tries": 1}
        cards = compression_page(document | {"timing": timing}).partition("<main>")[0]
        found = f"{middle}.*of the time at batch 64.*quartiles.*{low} to {high}"
        assert re.search(found, cards.replace("\N{NO-BREAK SPACE}", " "), re.DOTALL)


def test_projections_of_tokens_without_units_are_factorized(tmp_path: Path) -> None:
    """Tokens in a plane: two directions of them are all that projections read."""
    proto = written(
        """g (float[N, 4, 24] x) => (float[N, 3] y) {
          q = MatMul (x, wq)
          r = Relu (q)
          m = ReduceMean <axes = [1], keepdims = 0> (r)
          y = Gemm (m, wy)
        }""",
        wq=(24, 24), wy=(24, 3),
    )  # fmt: skip
    onnx.save(proto, tmp_path / "m.onnx")
    generator = np.random.default_rng(2)
    tokens = generator.normal(size=(200, 4, 2)) @ generator.normal(size=(2, 24))
    np.savez(tmp_path / "x.npz", x=tokens.astype(np.float32))
    request = Request(tmp_path / "m.onnx", data=f"npz:{tmp_path / 'x.npz'}")
    made = compress(
        request, tmp_path / "thin.onnx", Budget("macs", 0.3), method=PCA, constraints=ANY_WIDTH
    )
    assert 2 <= ranks(made)["wq"] <= 3
    assert made.verification is not None
    feeds = {"x": tokens.astype(np.float32)}
    whole, compressed = (
        run(onnx_ir.load(tmp_path / name), feeds)[0] for name in ("m.onnx", "thin.onnx")
    )
    np.testing.assert_allclose(compressed, whole, atol=1e-3 * np.abs(whole).max())
