"""A trained sentence encoder of six layers, from its vectors to a smaller file."""

import numpy as np
import onnxruntime as ort
import pytest
import torch

from tests.sentence_encoder import SentenceEncoder, encoded, tokens

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
