"""Damaged ONNX models, and the commands that read them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.random import Generator

from reliability.fuzz.byte_mutations import mutated_bytes
from reliability.fuzz.legal_graphs import legal_network
from reliability.fuzz.onnx_mutations import MUTATIONS, OF_ATTENTION, OF_OUTPUTS, Mutation, mutated
from reliability.fuzz.seeds import Seeds
from reliability.fuzz.values import one_of, text

FEW = ("--examples", "8", "--option", "repeats=1")
SMALLER = ("-o", "thin.onnx", "--macs", "0.6", "--no-time", "--json", "result.json")
TASKS = (
    *("classify", "multilabel", "regress", "segment", "heatmap", "detect", "embed", "generate"),
    "no task",
)
Command = Sequence[str]
EXAMPLES = 40
"""Examples of a legal network, a multiple of each batch that one may require."""

INSPECT = ("inspect", "seed.onnx", "--json", "result.json")
COMPRESS = ("compress", "seed.onnx", "--examples", "24", *SMALLER)
VERIFY = ("verify", "seed.onnx", "seed.onnx", "--no-time", "--examples", "8")
READING = (
    INSPECT,
    ("inspect", "seed.onnx", "-v"),
    ("analyze", "seed.onnx", *FEW, "--json", "result.json", "--report", "page.html"),
    ("analyze", "seed.onnx", "--metric", "redundancy", "--examples", "16", "--no-cache"),
    COMPRESS,
    (*COMPRESS, "--refit", "none"),
    ("activations", "seed.onnx", "--data", "gaussian?n=8", "-o", "out.h5"),
    VERIFY,
)


def write_network(seeds: Seeds, folder: Path, rng: Generator) -> Command:
    """Write a damaged network of any kind."""
    content = _drawn(seeds.models, rng, MUTATIONS)
    if rng.random() < 0.05:
        content = mutated_bytes(content, rng)
    _save(folder, content)
    return one_of(rng, READING)


def write_attention(seeds: Seeds, folder: Path, rng: Generator) -> Command:
    """Write a network whose attention is damaged."""
    _save(folder, _drawn(seeds.attention, rng, OF_ATTENTION))
    return one_of(rng, (INSPECT, COMPRESS, (*COMPRESS, "--refit", "none"), *READING))


def write_outputs(seeds: Seeds, folder: Path, rng: Generator) -> Command:
    """Write a network whose outputs are damaged, to be compared as a task says."""
    _save(folder, _drawn(seeds.outputs, rng, OF_OUTPUTS))
    command = one_of(rng, (COMPRESS, VERIFY, READING[2]))
    task = ("--task", one_of(rng, TASKS)) if rng.random() < 0.6 else ()
    axis = ("--label-axis", one_of(rng, ("-1", "1", "2", "7"))) if rng.random() < 0.2 else ()
    name = ("--output-name", one_of(rng, ("logits", "output0", "embedding", text(rng))))
    return (*command, *task, *axis, *(name if rng.random() < 0.3 else ()))


def write_for_torch(seeds: Seeds, folder: Path, rng: Generator) -> Command:
    """Write a damaged network that becomes a torch module."""
    models = {**seeds.models, **seeds.attention, **seeds.outputs}
    _save(folder, _drawn(models, rng, MUTATIONS))
    return ("to_torch", "seed.onnx", *(("--tensor", text(rng)) if rng.random() < 0.1 else ()))


def write_legal(seeds: Seeds, folder: Path, rng: Generator) -> Command:
    """Write an unusual network with dead units, without which its outputs are the same.

    ``exact.onnx`` must compute what it computes on ``x.npz``, ``narrow.onnx`` something of the same
    shapes.
    """
    del seeds
    network = legal_network(rng)
    _save(folder, network.SerializeToString())
    given = {value.name: value for value in network.graph.input}
    arrays = {}
    for name in ("x", "unused"):
        if name in given:
            sizes = [each.dim_value for each in given[name].type.tensor_type.shape.dim[1:]]
            arrays[name] = rng.standard_normal((EXAMPLES, *sizes)).astype(np.float32)
    if "unused" in given and given["unused"].type.tensor_type.elem_type == onnx.TensorProto.INT64:
        arrays["unused"] = np.zeros(arrays["unused"].shape, np.int64)
    np.savez(folder / "x.npz", **arrays)
    given_data = ("--data", "npz:x.npz", "--verify-data", "npz:x.npz", "--no-time")
    smaller = ("compress", "seed.onnx", *given_data, "--basis", "select", "--round-to", "none")
    exact = (*smaller, "--tolerance", "1e-9", "-o", "exact.onnx")
    narrow = (*smaller, "--units-kept", "0.6", "--refit", "none", "-o", "narrow.onnx")
    analyze = ("analyze", "seed.onnx", "--data", "npz:x.npz", *FEW, "--json", "result.json")
    return one_of(
        rng, (exact, exact, narrow, narrow, INSPECT, analyze, (*VERIFY, "--data", "npz:x.npz"))
    )


def _drawn(
    models: Mapping[str, onnx.ModelProto], rng: Generator, mutations: Sequence[Mutation]
) -> bytes:
    return mutated(models[one_of(rng, sorted(models))], rng, mutations)


def _save(folder: Path, content: bytes) -> None:
    """Write the model, and a file that it may say its weights are in."""
    (folder / "seed.onnx").write_bytes(content)
    (folder / "seed.data").write_bytes(bytes(100))
