"""``frivkit train --trainer lab``: going on after an interruption, and files of single epochs."""

import json
import os
import pickle
import resource
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import pytest
import torch

from frivkit.cli import main
from frivkit.digests import LINE_BYTES, split_digest
from frivkit.errors import ModelError, UsageError
from frivkit.experiments.train import TrainingError, train
from frivkit_trainers import lab
from frivkit_trainers.settings import Optimiser
from frivkit_trainers.snapshot import NAME

SETTINGS = {
    "batch": "200", "crop": "yes", "pad": "1", "flip": "yes", "contrast": "0.5", "keep_last": "3",
    "weight_decay": "1e-4", "optimiser": "adam", "lr": "0.003",
}  # fmt: skip
VALIDATION = "digits?split=train&n=100"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained(target: Path, epochs: int, **more: str):
    options = {**SETTINGS, "epochs": str(epochs), **more}
    return train(
        "cnn",
        "digits",
        target,
        validation_data=VALIDATION,
        width=0.25,
        options=options,
        trainer="lab",
    )


KILLED = """
import os, signal, sys
from pathlib import Path
from frivkit.experiments.train import train
from frivkit_trainers import lab

epoch = lab._Run._epoch

def killed(self, number):
    if number == 3:
        batches = self.batches.epoch()
        next(batches)  # so that the order of the examples has gone on
        os.kill(os.getpid(), signal.SIGKILL)
    return epoch(self, number)

lab._Run._epoch = killed
train("cnn", "digits", Path("killed.onnx"), validation_data=sys.argv[1], width=0.25, trainer="lab",
      options=eval(sys.argv[2]))
"""


@pytest.mark.parametrize("protocol", ["paper", "reference"])
def test_killed_run_goes_on_to_the_same_bytes(protocol, folder):
    more = {"protocol": protocol, "checkpoint": "state"}
    options = {**SETTINGS, **more, "epochs": "6"}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, VALIDATION, repr(options)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -9, done.stderr
    assert not (folder / "killed.onnx").exists()
    assert (folder / "state" / NAME).exists()
    trained(folder / "killed.onnx", 6, **more)
    trained(folder / "whole.onnx", 6, protocol=protocol)
    assert (folder / "killed.onnx").read_bytes() == (folder / "whole.onnx").read_bytes()
    for epoch in (4, 5, 6):
        one, other = (folder / f"{name}-epoch{epoch}.onnx" for name in ("killed", "whole"))
        assert one.read_bytes() == other.read_bytes()


def test_more_epochs_can_be_asked_for_later(folder):
    trained(folder / "part.onnx", 2, checkpoint="state")
    trained(folder / "part.onnx", 4, checkpoint="state")
    trained(folder / "whole.onnx", 4)
    assert (folder / "part.onnx").read_bytes() == (folder / "whole.onnx").read_bytes()
    with pytest.raises(TrainingError, match="has 4 epochs, more than epochs=3"):
        trained(folder / "part.onnx", 3, checkpoint="state")


def test_one_changed_byte_of_a_checkpoint_is_found(folder):
    trained(folder / "part.onnx", 1, checkpoint="state")
    path = folder / "state" / NAME
    whole = path.read_bytes()
    for position in range(0, len(whole) - LINE_BYTES, len(whole) // 4):
        changed = bytearray(whole)
        changed[position] ^= 1
        path.write_bytes(changed)
        with pytest.raises(TrainingError, match="cannot be read; remove it"):
            trained(folder / "part.onnx", 2, checkpoint="state")
    path.write_bytes(split_digest(whole)[0])  # as an earlier version wrote it
    with pytest.warns(UserWarning, match="cannot be checked for damage: it has no digest"):
        trained(folder / "part.onnx", 2, checkpoint="state")


def test_a_checkpoint_that_cannot_be_written_or_is_a_pipe_costs_nothing(folder):
    trained(folder / "part.onnx", 1, checkpoint="state")
    path = folder / "state" / NAME
    whole, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) // 2, limits[1]))
    try:
        with pytest.raises(ModelError, match=r"training.pt cannot be written: File too large"):
            trained(folder / "part.onnx", 2, checkpoint="state")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == whole
    assert [each.name for each in path.parent.iterdir()] == [NAME]
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(TrainingError, match=r"training.pt cannot be read; remove it"):
        trained(folder / "part.onnx", 2, checkpoint="state")


def test_dropout_and_momentum_go_on_too(folder, monkeypatch):
    """A network that draws random numbers as it trains."""
    from frivkit_papernets import mlp as module

    build = module.mlp

    def dropping(*arguments):
        return torch.nn.Sequential(torch.nn.Dropout(0.2), build(*arguments))

    monkeypatch.setattr(module, "MLP", module.Architecture(dropping, module.MlpOptions))

    def run(name, epochs, **more):
        options = {"epochs": str(epochs), "lr": "0.01", **more}
        train("mlp", "digits", folder / name, options=options, trainer="lab")
        return (folder / name).read_bytes()

    run("part.onnx", 2, checkpoint="state")
    assert run("part.onnx", 4, checkpoint="state") == run("whole.onnx", 4)
    assert run("other.onnx", 4, momentum="0.5") != run("whole.onnx", 4)


@pytest.mark.parametrize(
    "more",
    [
        *({"optimiser": name} for name in get_args(Optimiser)),
        {"crop": "proportions", "pad": "0"},
    ],
    ids=lambda more: more.get("optimiser", "crop"),
)
def test_each_optimiser_and_crop_goes_on_to_the_same_bytes(more, folder):
    more = {"keep_last": "0", **more}
    trained(folder / "part.onnx", 1, checkpoint="state", **more)
    trained(folder / "part.onnx", 3, checkpoint="state", **more)
    trained(folder / "whole.onnx", 3, **more)
    assert (folder / "part.onnx").read_bytes() == (folder / "whole.onnx").read_bytes()


def test_finished_run_is_not_trained_again(folder, monkeypatch):
    trained(folder / "a.onnx", 2, checkpoint="state")
    monkeypatch.setattr(lab._Run, "_epoch", lambda *_: pytest.fail("trained again"))
    trained(folder / "b.onnx", 2, checkpoint="state")
    assert (folder / "a.onnx").read_bytes() == (folder / "b.onnx").read_bytes()


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"lr": "0.1"}, "lr=0.003, not 0.1"),
        ({"protocol": "reference"}, "protocol=paper, not reference"),
        ({"keep_last": "4"}, "keep_last=3, not 4"),
    ],
)
def test_checkpoint_of_another_run_is_refused(more, complaint, folder):
    trained(folder / "a.onnx", 1, checkpoint="state")
    with pytest.raises(TrainingError, match=complaint):
        trained(folder / "a.onnx", 2, checkpoint="state", **more)


def test_checkpoint_of_other_data_or_another_network_is_refused(folder):
    trained(folder / "a.onnx", 1, checkpoint="state")
    options = {**SETTINGS, "epochs": "1", "checkpoint": "state"}
    for arguments, complaint in (
        ({"data": "digits?n=900", "width": 0.25}, "other train data"),
        ({"data": "digits", "width": 0.5}, "other network"),
        ({"data": "digits", "width": 0.25, "seed": 1}, "seed=0, not 1"),
    ):
        data = arguments.pop("data")
        with pytest.raises(TrainingError, match=complaint):
            train("cnn", data, folder / "b.onnx", validation_data=VALIDATION, options=options,
                  trainer="lab", **arguments)  # fmt: skip


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("something was unpickled",))


def test_damaged_and_hostile_checkpoints_are_refused(folder):
    trained(folder / "a.onnx", 1, checkpoint="state")
    path = folder / "state" / NAME
    content = path.read_bytes()
    contents = [content[:-100], b"", pickle.dumps(Trap())]
    torch.save({"format": 1, "run": Trap()}, path)
    contents.append(path.read_bytes())
    path.write_bytes(content)
    state = torch.load(path, weights_only=True)
    torch.save({**state, "network": {}}, path)  # the right run, but nothing of it
    contents.append(path.read_bytes())
    for bad in contents:
        path.write_bytes(bad)
        with pytest.raises(TrainingError, match="cannot be read; remove it"):
            trained(folder / "a.onnx", 1, checkpoint="state")


def test_place_that_cannot_be_written_is_noticed_before_any_work(folder, monkeypatch):
    monkeypatch.setattr(lab._Run, "_epoch", lambda *_: pytest.fail("trained"))
    (folder / "file").write_bytes(b"")
    with pytest.raises(ModelError, match="no folder file can be made"):
        trained(folder / "a.onnx", 1, checkpoint="file")
    (folder / "state" / NAME).mkdir(parents=True)
    with pytest.raises(ModelError, match="it is a folder"):
        trained(folder / "a.onnx", 1, checkpoint="state")


def test_interruption_while_saving_leaves_the_state_before(folder, monkeypatch):
    trained(folder / "a.onnx", 1, checkpoint="state")
    before = (folder / "state" / NAME).read_bytes()

    def interrupted(state, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained(folder / "a.onnx", 2, checkpoint="state")
    assert (folder / "state" / NAME).read_bytes() == before


def test_last_epochs_are_files_that_say_which_they_are(folder):
    found = trained(folder / "net.onnx", 4, choose="last")
    assert [path.name for path in found.epoch_files] == [f"net-epoch{n}.onnx" for n in (2, 3, 4)]
    weights = []
    for epoch, path in zip((2, 3, 4), found.epoch_files, strict=True):
        model = onnx.load(path)
        told = {entry.key: entry.value for entry in model.metadata_props}
        assert told["frivkit.epoch"] == str(epoch)
        assert told["frivkit.data"] == "digits?split=test"
        assert 0 <= float(told["frivkit.accuracy"]) <= 1
        (tensor,) = [t for t in model.graph.initializer if t.name == "output.weight"]
        weights.append(onnx.numpy_helper.to_array(tensor))
    last = onnx.load(folder / "net.onnx")
    (tensor,) = [t for t in last.graph.initializer if t.name == "output.weight"]
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), weights[-1])
    assert (weights[0] != weights[1]).any()


def test_recipe_in_the_file_names_the_settings(folder, capsys):
    pairs = {**SETTINGS, "epochs": "2", "init": "normal", "protocol": "reference", "keep_last": "1"}
    del pairs["crop"], pairs["pad"], pairs["flip"], pairs["contrast"]
    options = [word for key, value in pairs.items() for word in ("--option", f"{key}={value}")]
    specs = ["--data", "teacher", "--validation-data", "teacher?split=validation"]
    with pytest.raises(SystemExit) as end:
        main(["train", "mlp", "--trainer", "lab", *specs, *options, "-o", "net.onnx"])
    assert end.value.code == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[-1] == "last epoch: net-epoch2.onnx"
    assert told.err == ""
    metadata = {entry.key: entry.value for entry in onnx.load("net.onnx").metadata_props}
    recipe = json.loads(metadata["frivkit.recipe"])
    trainer = recipe["trainer"]
    assert (trainer["name"], trainer["protocol"], trainer["optimiser"]) == (
        "lab",
        "reference",
        "adam",
    )
    assert trainer["updates_an_epoch"] == 4
    assert set(recipe["data"]) == {
        f"teacher{rest}" for rest in ("?split=train", "?split=test", "?split=validation")
    }


def test_option_of_no_trainer_is_refused(folder):
    with pytest.raises(UsageError, match="did you mean optimiser"):
        trained(folder / "a.onnx", 1, optimizer="adam")
