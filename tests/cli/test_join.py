"""``--join``: what a concat joins as one layer, asked for by the user or by the file."""

import json

import h5py
import numpy as np
import onnx
import pytest

from tests.nets import network

DATA = ("--data", "gaussian?n=40")


@pytest.fixture
def named(files):
    """Write net.onnx, whose Concat joins a, c and the stem's pooled maps, and named.onnx.

    The latter says of itself that it is to be joined.
    """
    onnx.save(network("inception"), files / "net.onnx")
    proto = onnx.ModelProto()
    proto.CopyFrom(network("inception"))
    onnx.helper.set_model_props(proto, {"frivkit.joined": "Concat"})
    onnx.save(proto, files / "named.onnx")
    return files


def layers(document):
    return {site["layer"]: site["op"] for site in document["sites"]}


APART = dict.fromkeys(["stem", "a", "b", "c", "out"], "Conv")
JOINED = {"stem": "Conv", "b": "Conv", "Concat": "Concat", "out": "Conv"}


@pytest.mark.parametrize("command", [("inspect",), ("analyze", *DATA)])
@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (("net.onnx",), APART),
        (("net.onnx", "--join", "Con*"), JOINED),
        (("net.onnx", "--join", ""), APART),
        (("named.onnx",), JOINED),
        (("named.onnx", "--join", ""), APART),
    ],
)
def test_concats_are_layers_where_that_is_asked_for(command, given, wanted, named, frivkit):
    name, *more = command
    done = frivkit(name, *given, *more, "--json", "-")
    assert done.code == 0
    assert layers(json.loads(done.out)) == wanted
    del named


def test_a_joined_layer_is_measured_like_any_other(named, frivkit):
    done = frivkit(
        "analyze", "named.onnx", *DATA, "--metric", "redundancy", "--layer", "Concat", "--json", "-"
    )
    (found,) = done.document["measurements"]
    assert (found["layer"], found["detail"]["units"]) == ("Concat", 11)
    assert "  1  joined: stem, Concat\n" in frivkit("inspect", "named.onnx").out
    del named


def test_activations_of_a_joined_layer_are_its_tensor(named, frivkit):
    done = frivkit("activations", "net.onnx", *DATA, "--join", "Concat", "-o", "a.h5")
    assert done.code == 0
    assert frivkit("activations", "net.onnx", *DATA, "-o", "b.h5").code == 0
    with h5py.File(named / "a.h5") as joined, h5py.File(named / "b.h5") as apart:
        assert joined["layers/Concat"].shape == (40, 11, 4, 4)
        parts = np.concatenate([apart["layers/a"], apart["layers/c"]], axis=1)
        np.testing.assert_array_equal(joined["layers/Concat"][:, :7], parts)
        assert set(joined["layers"]) == set(JOINED)


def test_compress_takes_no_notice(named, frivkit):
    budget = ("--units-kept", "0.5", "--dry-run", "--json", "-")
    documents = [
        json.loads(frivkit("compress", f"{name}.onnx", "-o", "thin.onnx", *DATA, *budget).out)
        for name in ("net", "named")
    ]
    assert documents[0]["layers"] == documents[1]["layers"]
    assert [layer["layer"] for layer in documents[1]["layers"]] == list(APART)
    del named


def test_what_cannot_be_joined_says_who_asked(named, frivkit):
    done = frivkit("analyze", "named.onnx", *DATA, "--join", "mixed")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "frivkit: no concat of units in named.onnx matches 'mixed'; there are Concat\n"
    )
    proto = onnx.load(named / "named.onnx")
    onnx.helper.set_model_props(proto, {"frivkit.joined": "gone"})
    onnx.save(proto, named / "named.onnx")
    done = frivkit("inspect", "named.onnx")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "frivkit: no concat of units in named.onnx matches 'gone'; there are Concat "
        "(named.onnx names this to be joined; give --join)\n"
    )
