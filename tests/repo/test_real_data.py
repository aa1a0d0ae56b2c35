"""The third-party networks and the data made for them fit each other."""

import numpy as np
import pytest

pytestmark = pytest.mark.assets


def accuracy(model, data):
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    with np.load(data) as file:
        x, y = file["x"], file["y"]
    guess = np.concatenate(
        [
            session.run(None, {session.get_inputs()[0].name: part})[0].argmax(1)
            for part in np.array_split(x, 8)
        ]
    )
    return (guess == y).mean()


def test_mnist_network_reads_the_digits(mnist_model, mnist_digits):
    assert accuracy(mnist_model, mnist_digits) > 0.99


def test_digits_are_balanced_and_take_turns(mnist_digits):
    with np.load(mnist_digits) as file:
        x, y = file["x"], file["y"]
    assert x.shape == (2000, 1, 28, 28)
    assert x.dtype == np.float32
    assert y[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert np.bincount(y).tolist() == [200] * 10
    # what MNIST's own mean and deviation leave of a good sample of it
    assert abs(x.mean()) < 0.1
    assert abs(x.std() - 1) < 0.1


def test_orientation_network_reads_the_pages(orientation_model, orientation_pages):
    assert accuracy(orientation_model, orientation_pages) > 0.95


def test_file_type_network_reads_the_bytes(magika_model, magika_bytes):
    assert accuracy(magika_model, magika_bytes) > 0.8
