"""A trained sentence encoder: its vectors, and its first layers made smaller."""

import numpy as np
import onnxruntime as ort
import pytest
import torch

from frivkit.compression.calibration import Calibration
from frivkit.compression.plan import Plan, apply_plan
from frivkit.graph.surgery.narrow import narrow
from frivkit_compressors.refits import RIDGE
from tests.planning import allocator, calibrated
from tests.sentence_encoder import SentenceEncoder, encoded, tokens, write_sentence_encoder
from tests.surgery import close, run, zeroed

pytestmark = pytest.mark.assets

PAIRS = (
    ("A man is eating food.", "Someone is having a meal."),
    ("The girl is playing the guitar.", "A woman plays an instrument."),
    ("Stock markets fell sharply on Monday.", "Shares dropped at the start of the week."),
)


def nearest(vectors: np.ndarray) -> np.ndarray:
    """Return which other vector is nearest to each."""
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    return cosines.argmax(axis=1)


@pytest.fixture(scope="module")
def feeds() -> dict[str, np.ndarray]:
    return encoded([sentence for pair in PAIRS for sentence in pair])


@pytest.mark.usefixtures("feeds")  # first: it skips where the package cannot be had
def test_words_become_the_pieces_of_the_vocabulary():
    assert tokens("Café embeddings!") == [
        "[CLS]",
        "cafe",
        "em",
        "##bed",
        "##ding",
        "##s",
        "!",
        "[SEP]",
    ]


def test_sentences_of_one_meaning_are_nearest_whatever_the_layout(sentence_encoder, feeds):
    (written,) = ort.InferenceSession(sentence_encoder).run(None, feeds)
    assert nearest(written).tolist() == [1, 0, 3, 2, 5, 4]
    np.testing.assert_allclose((written**2).sum(axis=1), 1, atol=1e-5)
    with torch.no_grad():
        computed = SentenceEncoder("torch").eval()(*map(torch.from_numpy, feeds.values()))
    np.testing.assert_allclose(written, computed.numpy(), atol=1e-6)


LAYERS, CALIBRATED, OTHERS = 2, 96, 64


@pytest.fixture(scope="module")
def made(some_sentences, tmp_path_factory) -> tuple[Calibration, dict[str, np.ndarray]]:
    """Return the first layers, calibrated on some sentences, and other sentences."""
    folder = tmp_path_factory.mktemp("encoder")
    write_sentence_encoder(folder / "net.onnx", layers=LAYERS)
    with np.load(some_sentences) as file:
        every = {name: file[name] for name in file.files}
    np.savez(folder / "x.npz", **{name: each[:CALIBRATED] for name, each in every.items()})
    others = {name: each[CALIBRATED : CALIBRATED + OTHERS] for name, each in every.items()}
    return calibrated(folder / "net.onnx", f"npz:{folder / 'x.npz'}"), others


def test_trained_attention_and_dense_parts_become_smaller_together(made):
    """At 0.6 of the MACs; vectors have length 1, so that their products are cosines."""
    calibration, others = made
    plan = allocator(calibration).for_budget("macs", 0.6)
    left = {name.split("/")[2]: flags.mean() for name, flags in plan.keep.items()}
    assert max(left["query"], left["value"], left["Mul_2_output_0"]) < 0.9  # nothing is spared
    site_map, graph = calibration.site_map, calibration.model.ir
    cut = run(narrow(calibration.model, site_map, plan.keep), others)[0]
    close(cut, run(zeroed(calibration.model, site_map, plan.keep), others)[0])
    refitted = run(apply_plan(calibration, RIDGE.refitted(calibration, plan)), others)[0]
    whole = run(graph, others)[0]
    cosines = (refitted * whole).sum(axis=1)
    assert cosines.mean() > 0.97
    assert cosines.mean() > (cut * whole).sum(axis=1).mean() + 0.03
    assert (nearest(refitted) == nearest(whole)).mean() > 0.6


def test_queries_and_keys_cost_what_they_lose(made):
    """Half of them leave one layer; the error is measured where the norm behind reads it."""
    calibration, others = made
    groups = calibration.pruning_graph.groups
    for moments in calibration.scores:
        value = set(moments.score.value.groups.ravel().tolist())
        reader = next(c for c in calibration.linear_consumers if value <= set(c.group_ids.tolist()))
        stays, predicted = np.ones(groups.count, np.bool_), 0.0
        for logits, row in zip(moments.heads, moments.score.query.groups, strict=True):
            dimensions = np.arange(row.size) % 2 == 0
            stays[row[~dimensions]] = False
            predicted += logits.error(dimensions)
        plan = RIDGE.refitted(calibration, Plan(groups.flags(stays), 0.0))
        before, after = (
            _tensor(graph, reader.norm, others)
            for graph in (calibration.model.ir, apply_plan(calibration, plan))
        )
        around = before - before.mean(axis=(0, 1))
        measured = np.square(after - before).sum() / np.square(around).sum()
        assert 0.5 < predicted / measured < 1.2


def _tensor(graph, name, feeds) -> np.ndarray:
    copy = graph.clone()
    value = next(v for node in copy.graph for v in node.outputs if v.name == name)
    copy.graph.outputs.append(value)
    return run(copy, feeds)[-1].astype(np.float64)
