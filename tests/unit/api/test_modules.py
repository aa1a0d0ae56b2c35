"""Torch modules whose example comes from the data, in every form of data."""

from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import frivkit
from frivkit.errors import DataError, ModelError

X = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
Y = np.arange(40) % 4


class Examples(Dataset):
    def __init__(self, example) -> None:
        self.example = example

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> object:
        return self.example(index)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.head = nn.Linear(3, 8), nn.Linear(3, 8), nn.Linear(8, 4)

    def forward(self, a, b):
        return self.head(torch.relu(self.left(a) + self.right(b)))


class WithSvd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 8)

    def forward(self, x):
        return torch.linalg.svd(self.layer(x)).S


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))


EXAMPLES = {
    "inputs": lambda i: X[i],
    "pairs": lambda i: (X[i], Y[i]),
    "pairs with floats": lambda i: (X[i], 0.5),
    "pairs with texts": lambda i: (X[i], "cat"),
    "mappings": lambda i: {"x": X[i], "y": Y[i]},
    "mappings by input": lambda i: {"input": X[i]},
    "float64": lambda i: X[i].astype(np.float64),
}


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_torch_datasets_and_loaders_show_what_a_module_takes(net, example):
    expected = frivkit.analyze(net, "redundancy", data=X).value()
    data = Examples(example)
    assert frivkit.analyze(net, "redundancy", data=data).value() == expected
    loader = DataLoader(data, batch_size=16)
    assert frivkit.analyze(net, "redundancy", data=loader).value() == expected


def test_other_arrays_show_what_a_module_takes(net, tmp_path):
    import pandas as pd

    np.save(tmp_path / "x.npy", X)

    class Place:
        def __fspath__(self) -> str:
            return str(tmp_path / "x.npy")

    expected = frivkit.analyze(net, "redundancy", data=X).value()
    for data in (X.astype(np.float64), pd.DataFrame(X), {"x": X}, Place(), ((X,), Y)):
        assert frivkit.analyze(net, "redundancy", data=data).value() == expected
    for kind in (torch.bfloat16, torch.float16):
        frivkit.analyze(net, "redundancy", data=torch.from_numpy(X).to(kind))


def test_a_dataset_of_two_inputs_and_labels():
    left, right = X[:, :3].copy(), X[:, 3:].copy()
    data = TensorDataset(*map(torch.from_numpy, (left, right, Y)))
    module = TwoInputs()
    found = frivkit.activations(module, data=data)
    expected = frivkit.activations(module, data={"a": left, "b": right})
    assert np.array_equal(found.outputs, expected.outputs)


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (DataLoader([]), DataError, "have no examples"),
        (X.tolist(), DataError, "is a list; give a numpy array"),
        (iter([X]), DataError, "is a list_iterator; give a numpy array"),
        ((X * 9).astype(np.uint8), ModelError, "if it takes floats, give floats as data"),
    ],
)
def test_data_that_show_nothing_are_an_error(net, data, error, words):
    with pytest.raises(error, match=words):
        frivkit.analyze(net, "redundancy", data=data)


def test_modules_are_opened_in_several_threads(net, capsys):
    expected = frivkit.analyze(net, "redundancy", data=X).value()
    values: list[object] = []

    def measure() -> None:
        values.append(frivkit.analyze(net, "redundancy", data=X, threads=1).value())

    threads = [Thread(target=measure) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values == [expected] * 4
    print("still printed")
    assert capsys.readouterr().out == "still printed\n"


def test_a_module_that_cannot_be_exported_prints_nothing(capfd):
    with pytest.raises(ModelError, match="cannot be written as ONNX"):
        frivkit.load(WithSvd(), X[:2])
    assert capfd.readouterr() == ("", "")


def test_modes_and_statistics_stay(net, tmp_path: Path):
    module = nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 4)
    )
    module[3].eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    frivkit.compress(module, tmp_path / "small.onnx", data=X, units_kept=0.5)
    assert [each.training for each in module] == [True, True, True, False, True]
    assert all(torch.equal(before[name], now) for name, now in module.state_dict().items())


def test_a_network_in_memory_is_called_by_its_variable():
    small, nets = nn.Linear(6, 2), [nn.Linear(6, 2), nn.Linear(6, 3)]
    named = {"wide": nn.Linear(6, 4)}
    example = torch.from_numpy(X)
    paths = [str(frivkit.load(net, example).path) for net in (small, *nets, named["wide"])]
    assert paths == ["<net>"] * 4, "the variable of the loop comes first"
    assert str(frivkit.load(small, example).path) == "<small>"
    assert str(frivkit.load(nets[1], example).path) == "<nets[1]>"
    assert str(frivkit.load(named["wide"], example).path) == "<named['wide']>"
    assert str(frivkit.load(nn.Linear(6, 2), example).path) == "<Linear>"
    with pytest.raises(ModelError, match=r"^small: "):
        frivkit.load(small, example[:, :3])
