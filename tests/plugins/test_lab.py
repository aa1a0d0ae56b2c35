"""The trainer ``lab`` against formulas worked out in NumPy, and the two protocols."""

import json
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from frivkit.data import open_data
from frivkit.errors import DataError, DeviceError, UsageError
from frivkit.experiments.train import TrainingError, accuracy
from frivkit.progress import Silent
from frivkit_papernets.mlp import MlpOptions, mlp
from frivkit_trainers import loaders
from frivkit_trainers.best_epoch import BestEpoch
from frivkit_trainers.lab import lab
from frivkit_trainers.loaders import SequentialLoader
from frivkit_trainers.optimisers import optimiser
from frivkit_trainers.settings import LabOptions, Optimiser, rate


def softmax(logits):
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


@pytest.fixture
def small(tmp_path):
    """Return 30 examples of 4 numbers and 3 classes: as arrays, and as data."""
    random = np.random.default_rng(0)
    x = random.normal(size=(30, 4)).astype(np.float32)
    y = random.integers(0, 3, 30)
    np.savez(tmp_path / "d.npz", x=x, y=y)
    return x, y, open_data(f"npz:{tmp_path / 'd.npz'}", None)


class Momentum:
    def __init__(self, factor):
        self.factor, self.speed = factor, 0.0

    def __call__(self, slope, lr, number, value):
        self.speed = self.factor * self.speed + slope
        return lr * self.speed


class Adam:
    """Kingma and Ba, arXiv:1412.6980, algorithm 1."""

    first = second = 0.0

    def __call__(self, slope, lr, number, value):
        self.first = 0.9 * self.first + 0.1 * slope
        self.second = 0.999 * self.second + 0.001 * slope**2
        mean, square = self.first / (1 - 0.9**number), self.second / (1 - 0.999**number)
        return lr * mean / (np.sqrt(square) + 1e-8)


class RmsProp:
    """TensorFlow 1: the mean square starts at 1, and epsilon is under the root."""

    square = 1.0

    def __call__(self, slope, lr, number, value):
        self.square = 0.9 * self.square + 0.1 * slope**2
        return lr * slope / np.sqrt(self.square + 1e-10)


class Adagrad:
    """Duchi et al. 2011, equation 1, on the diagonal; TensorFlow 1 sums from 0.1 on."""

    squares = 0.1

    def __call__(self, slope, lr, number, value):
        self.squares = self.squares + slope**2
        return lr * slope / np.sqrt(self.squares)


class Ftrl:
    """McMahan et al. 2013, algorithm 1, with beta and both lambdas 0.

    TensorFlow 1 sums squares from 0.1 on; ``z`` starts at 0, which the weights do not.
    """

    squares, z = 0.1, 0.0

    def __call__(self, slope, lr, number, value):
        sigma = (np.sqrt(self.squares + slope**2) - np.sqrt(self.squares)) / lr
        self.z = self.z + slope - sigma * value
        self.squares = self.squares + slope**2
        return value - (-self.z * lr / np.sqrt(self.squares))


BY_HAND = {
    "sgd": lambda: Momentum(0.0),
    "momentum": lambda: Momentum(0.7),
    "adam": Adam,
    "rmsprop": RmsProp,
    "adagrad": Adagrad,
    "proximal-adagrad": Adagrad,  # its penalties are 0
    "ftrl": Ftrl,
}


def test_all_optimisers_are_worked_out_by_hand():
    assert set(BY_HAND) == set(get_args(Optimiser))


@pytest.mark.parametrize("seed", range(5))
def test_first_step_of_ftrl_leaves_little_of_the_weights(seed, small):
    torch.manual_seed(seed)
    network = nn.Linear(4, 3)
    before = network.weight.detach().clone()
    options = LabOptions(optimiser="ftrl", epochs=1, batch=64, lr=1e-6)
    lab(network, small[2], None, 0, options, Silent())
    share = network.weight.detach() / before
    # 1 - sqrt(0.1 / (0.1 + g²)) for a slope g, none of which comes near 0.5 on these data
    assert 0 <= share.min() < share.max() < 0.47


@pytest.mark.parametrize("scope", ["all", "weights"])
@pytest.mark.parametrize("name", BY_HAND)
def test_first_updates_are_those_worked_out_in_numpy(name, scope, small):
    x, y, data = small
    network = nn.Linear(4, 3)
    values = [network.weight.detach().numpy().astype(float).T.copy()]
    values.append(network.bias.detach().numpy().astype(float).copy())
    settings = {"lr": 0.1, "decay": 0.5, "every": 2, "momentum": 0.7, "weight_decay": 0.2}
    options = LabOptions(optimiser=name, epochs=5, batch=64, decay_scope=scope, **settings)
    record = lab(network, data, None, 0, options, Silent())

    steps, losses = (BY_HAND[name](), BY_HAND[name]()), []
    for number in range(5):  # one batch holds all, so an epoch is one step
        shares = softmax(x @ values[0] + values[1])
        losses.append(-np.log(shares[np.arange(30), y]).mean())
        error = (shares - np.eye(3)[y]) / 30
        slopes = [x.T @ error + 0.2 * values[0], error.sum(axis=0)]
        slopes[1] += 0.2 * values[1] if scope == "all" else 0.0
        for value, slope, step in zip(values, slopes, steps, strict=True):
            lr = 0.1 * 0.5 ** (number // 2)
            np.subtract(value, step(slope, lr, number + 1, value), out=value)
    np.testing.assert_allclose(record.losses, losses, rtol=1e-5)
    np.testing.assert_allclose(network.weight.detach().numpy().T, values[0], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(network.bias.detach().numpy(), values[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("scope", "names"),
    [
        ("all", {"0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias", "4.weight"}),
        ("weights", {"0.weight", "3.weight", "4.weight"}),
        ("dense", {"3.weight"}),
    ],
)
def test_weight_decay_is_on_the_parameters_of_its_scope(scope, names):
    layers = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2)
    network = nn.Sequential(*layers, nn.Linear(2, 2, bias=False))
    made = optimiser(network, LabOptions(weight_decay=0.5, decay_scope=scope))
    decay = {id(w): group["weight_decay"] for group in made.param_groups for w in group["params"]}
    found = {name: decay[id(weight)] for name, weight in network.named_parameters()}
    assert found == {name: 0.5 if name in names else 0.0 for name in found}


def test_scope_that_holds_nothing_is_refused():
    network = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(UsageError, match="decay_scope=dense"):
        optimiser(network, LabOptions(weight_decay=0.5, decay_scope="dense"))


def rates(options, epochs, updates=4):
    return [rate(options, epoch, 0, updates) for epoch in range(epochs)]


def test_rates_fall_as_asked():
    np.testing.assert_allclose(rates(LabOptions(lr=2, schedule="constant"), 3), [2, 2, 2])
    np.testing.assert_allclose(rates(LabOptions(lr=2, decay=0.5), 3), [2, 1, 0.5])
    steps = LabOptions(lr=2, schedule="steps", steps="1,3")
    np.testing.assert_allclose(rates(steps, 5), [2, 0.2, 0.2, 0.02, 0.02])
    inception = LabOptions(lr=1, decay=0.96, every=8)
    np.testing.assert_allclose(rates(inception, 17)[7::8], [1, 0.96])
    assert rates(LabOptions(lr=2, k=4, schedule="constant"), 1) == [8]


def test_rate_rises_by_equal_steps_in_the_warm_up():
    options = LabOptions(lr=1, warmup=2, schedule="constant")
    found = [rate(options, epoch, update, 4) for epoch in range(3) for update in range(4)]
    np.testing.assert_allclose(found, [*np.arange(1, 9) / 8, 1, 1, 1, 1])


@pytest.mark.parametrize(("name", "wanted"), [
    ("adam", 0.001), ("rmsprop", 0.2), ("adagrad", 0.2), ("proximal-adagrad", 0.2), ("ftrl", 0.2)
])  # fmt: skip
def test_reference_keeps_some_rates_constant(name, wanted):
    options = LabOptions(protocol="reference", optimiser=name, lr=2)
    np.testing.assert_allclose(rates(options, 4), wanted)
    for falling in ("momentum", "sgd"):
        options = LabOptions(protocol="reference", optimiser=falling, lr=2)
        assert rates(options, 2) == [2, 1.9]


@pytest.fixture
def numbered(tmp_path):
    np.savez(tmp_path / "n.npz", x=np.arange(11.0).reshape(11, 1), y=np.arange(11))
    return open_data(f"npz:{tmp_path / 'n.npz'}", None)


@pytest.mark.parametrize("held", [2**30, 0])
def test_reference_order_is_a_ring_that_skips_the_first_batch_of_an_epoch(
    numbered, monkeypatch, held
):
    monkeypatch.setattr(loaders, "IN_MEMORY", held)
    ring = SequentialLoader(numbered, 3, None)
    epochs = []
    for _ in range(3):
        for inputs, labels in ring.epoch():
            assert inputs[:, 0].tolist() == labels.tolist()
            epochs.append(labels.tolist())
    assert ring.updates == 2
    assert epochs == [
        [3, 4, 5], [6, 7, 8],
        [1, 2, 3], [4, 5, 6],  # the batch 9, 10, 0 was skipped
        [10, 0, 1], [2, 3, 4],
    ]  # fmt: skip


def test_reference_makes_one_update_fewer_an_epoch():
    data = open_data("teacher?split=train", None)
    network = mlp((10,), 2, 0.25, MlpOptions())
    record = lab(network, data, None, 0, LabOptions(protocol="reference", epochs=1), Silent())
    assert record.recipe["updates_an_epoch"] == 6  # Casper et al. 2021: 300 in 50 epochs
    record = lab(network, data, None, 0, LabOptions(epochs=1), Silent())
    assert record.recipe["updates_an_epoch"] == 8


def test_reference_needs_two_batches(small):
    with pytest.raises(UsageError, match="2 batches of 16"):
        lab(
            nn.Linear(4, 3), small[2], None, 0, LabOptions(protocol="reference", batch=16), Silent()
        )


@pytest.fixture(scope="module")
def digits():
    return open_data("digits?split=train&n=300", None), open_data("digits?split=test&n=100", None)


def fitted(train, validation, **settings):
    torch.manual_seed(3)
    network = mlp((1, 8, 8), 10, 0.25, MlpOptions())
    options = LabOptions(**{"batch": 64, "lr": 0.02, **settings})
    record = lab(network, train, validation, 3, options, Silent())
    return network, record


@pytest.fixture(scope="module")
def off(digits, tmp_path_factory):
    """Return data whose labels are all off by one, which are met the less, the more is learnt."""
    batch = digits[0].read(0, 300)
    path = tmp_path_factory.mktemp("off") / "off.npz"
    np.savez(path, x=batch.inputs["x"], y=(batch.labels + 1) % 10)
    return open_data(f"npz:{path}", None)


@pytest.mark.parametrize(
    ("protocol", "measured"), [("paper", range(1, 7)), ("reference", range(6))]
)
def test_the_first_best_epoch_is_chosen_among_those_measured(protocol, measured, digits, off):
    settings = {"protocol": protocol}
    runs = {count: fitted(digits[0], None, epochs=count, **settings)[0] for count in range(7)}
    reached = [accuracy(runs[count], off) for count in measured]
    best = measured[int(np.argmax(reached))]
    network, record = fitted(digits[0], off, epochs=6, **settings)
    assert record.validation_accuracy == max(reached)
    assert record.recipe["chosen_epoch"] == best
    for name, weight in runs[best].state_dict().items():
        assert torch.equal(weight, network.state_dict()[name])
    last, record = fitted(digits[0], off, epochs=6, choose="last", **settings)
    assert all(torch.equal(w, last.state_dict()[n]) for n, w in runs[6].state_dict().items())
    assert record.validation_accuracy == accuracy(last, off)


def test_training_stops_after_patience_without_a_better_accuracy(digits, off):
    record = fitted(digits[0], off, epochs=40, patience=4)[1]
    assert record.recipe["stopped_early"]
    assert record.epochs == record.recipe["chosen_epoch"] + 4 < 40


def test_training_stops_when_the_training_labels_are_met(digits):
    network, record = fitted(
        digits[0], None, epochs=200, lr=0.005, decay=1.0, watch="train", enough=1.0
    )
    assert record.epochs < 200
    assert accuracy(network, digits[0]) == 1.0
    assert record.recipe["watched_accuracy"] == 1.0
    assert record.validation_accuracy is None


@pytest.mark.parametrize("option", [{"patience": 3}, {"enough": 0.9}])
def test_stopping_early_needs_something_to_watch(option, digits):
    with pytest.raises(UsageError, match="--validation-data"):
        fitted(digits[0], None, **option)


def test_k_multiplies_rate_and_batch(digits):
    one = fitted(digits[0], None, epochs=3, k=0.5)
    other = fitted(digits[0], None, epochs=3, batch=32, lr=0.01)
    assert one[1].losses == other[1].losses
    assert one[1].recipe["k"] == 0.5


def test_training_follows_the_seed(digits):
    losses = [fitted(digits[0], None, epochs=2, crop="yes", pad=1)[1].losses for _ in range(2)]
    assert losses[0] == losses[1]
    plain = fitted(digits[0], None, epochs=2)[1].losses
    assert plain != losses[0]


def test_recipe_names_every_setting_and_no_folder(digits, tmp_path):
    record = fitted(digits[0], digits[1], epochs=1, checkpoint=str(tmp_path / "c"))[1]
    named = set(json.loads(json.dumps(record.recipe)))
    assert set(LabOptions.__dataclass_fields__) - named == {"checkpoint"}
    assert str(tmp_path) not in json.dumps(record.recipe)


def test_diverging_training_is_stopped(digits):
    with pytest.raises(TrainingError, match=r"lr=1e\+09 is too high"):
        fitted(digits[0], None, lr=1e9, epochs=3)


def test_augmentation_needs_images(small):
    with pytest.raises(DataError, match="no images to augment"):
        lab(nn.Linear(4, 3), small[2], None, 0, LabOptions(flip=True), Silent())


@pytest.mark.skipif(torch.cuda.is_available(), reason="the device is there")
def test_a_device_that_is_not_there_is_refused(digits):
    with pytest.raises(DeviceError, match="device 'cuda' was asked for"):
        fitted(digits[0], None, device="cuda")


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": -1},
        {"lr": 0.0},
        {"batch": 1},
        {"k": 0.001},
        {"k": -1.0},
        {"momentum": 1.0},
        {"decay": 1.1},
        {"every": 0},
        {"steps": "3,2", "schedule": "steps"},
        {"steps": "", "schedule": "steps"},
        {"steps": "0,2", "schedule": "steps"},
        {"steps": "x", "schedule": "steps"},
        {"steps": "3"},
        {"warmup": -1},
        {"weight_decay": -1.0},
        {"pad": -1},
        {"pad": 2},
        {"pad": 2, "crop": "proportions"},
        {"brightness": -1.0},
        {"contrast": 1.1},
        {"patience": -1},
        {"enough": 1.1},
        {"keep_last": -1},
        {"mixed": True},
        {"compile": True},
    ],
)
def test_options_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(UsageError, match=f"option {next(iter(wrong))}="):
        LabOptions(**wrong)


def test_rates_never_rise_after_the_warm_up():
    for options in (LabOptions(), LabOptions(schedule="steps", steps="2,5"), LabOptions(warmup=3)):
        found = rates(options, 9)[options.warmup :]
        assert all(later <= earlier for earlier, later in pairwise(found))


def test_only_a_better_accuracy_is_a_new_best():
    network, choice, options = nn.Linear(1, 1), BestEpoch(), LabOptions(patience=2)
    for epoch, reached in enumerate([0.4, 0.5, 0.5], start=1):
        network.weight.data.fill_(epoch)
        choice.record(reached, epoch, network, copy=True)
        assert not choice.stops_early(options)
    assert (choice.best, choice.epoch, choice.since) == (0.5, 2, 1)
    assert choice.weights["weight"].item() == 2
    choice.record(0.1, 4, network, copy=True)
    assert choice.stops_early(options)
    assert BestEpoch(best=0.9).stops_early(LabOptions(enough=0.9))
    assert not BestEpoch(best=0.9).stops_early(LabOptions(enough=0.91))
    assert not BestEpoch(best=1.0, since=99).stops_early(LabOptions())
