"""The basis of main directions against numpy on the activation matrix."""

from pathlib import Path

import numpy as np
import pytest

from frivkit.compression.compress import Budget, compress
from frivkit.compression.method import Method
from frivkit.compression.patches import HELD_OUT
from frivkit.errors import BudgetError, ModelError, UsageError
from frivkit.graph.cost import macs
from frivkit.graph.model import parameters
from frivkit.pipeline import Request, load_model
from frivkit.provenance import Clock
from frivkit.report.compression import compression_document, compression_text
from tests.unit.test_compression import write_data, write_layers

PCA = Method(basis="pca")


@pytest.fixture
def layers() -> list[np.ndarray]:
    generator = np.random.default_rng(3)
    return [generator.normal(size=size) for size in [(8, 40), (40, 30), (30, 5)]]


def relu(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return np.maximum(x @ weight.astype(np.float32), 0)


def test_loss_is_that_of_the_main_directions_of_what_a_node_makes(tmp_path, layers):
    model = write_layers(tmp_path / "m.onnx", *layers)
    request = Request(model, data=write_data(tmp_path / "x.npz", 8, 400))
    proof = write_data(tmp_path / "p.npz", 8, 50)
    made = compress(request, None, Budget("macs", 0.8), verify_data=proof, method=PCA)
    factors = {each.reading.consumer.weight: each for each in made.plan.factors}
    split = factors["l1.weight"]
    y = (relu(np.load(tmp_path / "x.npz")["x"], layers[0]) @ layers[1]).astype(np.float64)
    held = np.arange(len(y)) % HELD_OUT == HELD_OUT - 1
    mean = y[~held].mean(axis=0)
    vectors = np.linalg.eigh(np.cov(y[~held].T))[1][:, ::-1]
    kept = vectors[:, : split.rank] @ vectors[:, : split.rank].T
    about = y[held] - mean
    expected = ((about - about @ kept) ** 2).sum() / (about**2).sum()
    assert split.error == pytest.approx(expected, rel=1e-3)


def test_a_layer_of_rank_three_comes_back_at_three(tmp_path, layers):
    generator = np.random.default_rng(5)
    layers[1] = generator.normal(size=(40, 3)) @ generator.normal(size=(3, 30))
    model = write_layers(tmp_path / "m.onnx", *layers)
    request = Request(model, data=write_data(tmp_path / "x.npz", 8))
    made = compress(request, tmp_path / "t.onnx", Budget("tolerance", 1e-6), method=PCA)
    ranks = {each.reading.consumer.weight: each.rank for each in made.plan.factors}
    assert ranks["l1.weight"] == 3
    assert made.proof.comparison.agreement.share == 1.0
    assert made.proof.comparison.relative_l2 < 1e-4


@pytest.mark.parametrize("kind", ["macs", "params"])
@pytest.mark.parametrize("share", [0.85, 0.6])
def test_budgets_are_met_and_every_split_saves(kind, share, tmp_path, layers):
    model = write_layers(tmp_path / "m.onnx", *layers)
    request = Request(model, data=write_data(tmp_path / "x.npz", 8))
    made = compress(request, tmp_path / "t.onnx", Budget(kind, share), method=PCA)
    count = {"macs": macs, "params": parameters}[kind]
    before, after = (count(load_model(Request(p)).graph) for p in (model, tmp_path / "t.onnx"))
    assert share - 0.15 < after / before <= share
    assert made.plan.factors
    for each in made.plan.factors:
        (columns, outputs), rank = each.reading.matrix.shape, each.rank
        assert rank * (columns + outputs) < columns * outputs
    assert all(flags.all() for flags in made.plan.keep.values())


def test_ranks_are_rounded_to_multiples(tmp_path, layers):
    model = write_layers(tmp_path / "m.onnx", *layers)
    request = Request(model, data=write_data(tmp_path / "x.npz", 8))
    made = compress(request, None, Budget("macs", 0.6, multiple=4), method=PCA)
    assert all(each.rank % 4 == 0 or each.rank == 1 for each in made.plan.factors)


def test_what_means_nothing_or_cannot_be_is_refused(tmp_path, layers):
    model = write_layers(tmp_path / "m.onnx", *layers)
    request = Request(model, data=write_data(tmp_path / "x.npz", 8))
    with pytest.raises(UsageError, match="--macs or --params"):
        compress(request, None, Budget("units", 0.5), method=PCA)
    with pytest.raises(BudgetError, match="smallest model has") as raised:
        compress(request, None, Budget("macs", 0.01), method=PCA)
    least = raised.value.least
    compress(request, None, Budget("macs", least * 1.001), method=PCA)
    small = write_layers(tmp_path / "s.onnx", np.ones((8, 1)), np.ones((1, 3)))
    with pytest.raises(ModelError, match="can be split in two"):
        compress(Request(small, data=request.data), None, Budget("macs", 0.9), method=PCA)


def test_an_agreement_is_searched_for(tmp_path, layers):
    model = write_layers(tmp_path / "m.onnx", *layers)
    request = Request(model, data=write_data(tmp_path / "x.npz", 8, 800))
    made = compress(request, tmp_path / "t.onnx", Budget("agreement", 0.8), method=PCA)
    assert made.plan.factors
    assert made.proof.comparison.agreement.share > 0.8


def test_report_names_what_is_split_and_why_others_are_not(tmp_path: Path, layers):
    from frivkit.report.compressionpage import compression_page

    model = write_layers(tmp_path / "m.onnx", *layers)
    request = Request(model, data=write_data(tmp_path / "x.npz", 8))
    budget = Budget("macs", 0.85)
    made = compress(request, None, budget, method=PCA)
    document = compression_document(made, request, budget, Clock.start())
    split = [each["node"] for each in document["factors"]]
    assert split == [each.reading.consumer.node for each in made.plan.factors]
    assert document["kinds"]["leaving"] == 0
    text = compression_text(document)
    assert "split in two" in text
    assert all(node in text for node in split)
    page = compression_page(document)
    assert "Split in two" in page
    whole = {skip["node"]: skip["reason"] for skip in document["skipped"] if "node" in skip}
    for reading in made.calibration.readings:
        if reading.consumer.node not in split:
            assert "would lose more than it is worth" in whole[reading.consumer.node]
