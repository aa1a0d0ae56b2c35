"""The sound files that are damaged: models, data, recipes, plans, small enough for many runs."""

import gzip
import io
import json
import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
from PIL import Image

from reliability.running.forked import Limits, call, run
from tests.handmade import NETS, written
from tests.zoo.fused import FUSED

RECIPE: dict[str, Any] = {
    "title": "small",
    "protocol": "reference",
    "common": {"source": "digits", "keys": {"n": 64}, "options": {"epochs": 1, "batch": 32}},
    "networks": [{"name": "a", "architecture": "mlp", "trainer": "sgd"}],
    "curves": [
        {"figure": "f", "series": "a", "panels": ["prunable", "redundant", "test accuracy"]}
    ],
    "metrics": {
        "prunability": {"batch": 16, "repeats": 1, "refine": 0},
        "redundancy": {"batch": 16},
    },
    "scales": {"full": {"widths": [0.125], "seeds": [0]}},
}
PARAMETERS = {
    "title": "parameters",
    "networks": [{"name": "a", "architecture": "mlp", "shape": [10], "classes": 2}],
    "curves": [{"figure": "f", "series": "a", "panels": ["parameters"]}],
    "scales": {"full": {"widths": [0.25, 2], "seeds": [0]}},
}
STACKS = {
    "planner": "stacks",
    "figure": "4d",
    "title": "stacked",
    "panels": ["prunable", "redundant"],
    "protocol": "reference",
    "changes": {"balance": 0.4},
    "series": [{"label": "a", "inputs": 10, "factors": [0.01]}],
    "scales": {
        "full": {"widths": [0.25], "seeds": [0], "rates": [1, 0.1], "examples": 300, "epochs": 2}
    },
}
EXAMPLES = 24
PICTURES = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
_NETS = {
    "mlp": """g (float[N, 8] x) => (float[N, 4] logits) {
      layer = Gemm <transB = 1> (x, v)
      u = Relu (layer)
      logits = Gemm <transB = 1> (u, w)
    }""",
    "cnn": """g (float[N, C, 8, 8] x) => (float[N, 4] logits) {
      conv = Conv <pads = [1, 1, 1, 1]> (x, u)
      a = Relu (conv)
      c = GlobalAveragePool (a)
      d = Flatten (c)
      logits = Gemm <transB = 1> (d, w)
    }""",
}


@dataclass(frozen=True, slots=True)
class Seeds:
    """Sound files.

    Attributes:
        folder: Holds ``mlp.onnx``, ``grey.onnx`` and ``colour.onnx``, which other files are for.
        models: ONNX models that are damaged.
        attention: Of these, those with attention.
        outputs: Models with several outputs, each for another task.
        files: The bytes of other files, by their names.
    """

    folder: Path
    models: Mapping[str, onnx.ModelProto]
    attention: Mapping[str, onnx.ModelProto]
    outputs: Mapping[str, onnx.ModelProto]
    files: Mapping[str, bytes]


def write_seeds(folder: Path) -> Seeds:
    """Write and return the sound files."""
    folder.mkdir(parents=True, exist_ok=True)
    models = {
        "mlp": written(_NETS["mlp"], v=(12, 8), w=(4, 12)),
        "grey": written(_NETS["cnn"].replace("C", "1", 1), u=(6, 1, 3, 3), w=(4, 6)),
        "colour": written(_NETS["cnn"].replace("C", "3", 1), u=(6, 3, 3, 3), w=(4, 6)),
    }
    for name, model in models.items():
        onnx.save(model, folder / f"{name}.onnx")
    attention = {name: make() for name, make in FUSED.items()} | {"pieces": _attention()}
    models |= {name: make() for name, make in NETS.items()} | attention
    rng = np.random.default_rng(1)
    x = rng.standard_normal((EXAMPLES, 8)).astype(np.float32)
    y = np.arange(EXAMPLES) % 4
    files = {"x.npz": _npz(x, y), "x.npy": _npy(x), "x.h5": _hdf5(x, y)}
    files |= _idx(rng) | _cifar(rng) | _pictures(rng)
    (folder / "x.npz").write_bytes(files["x.npz"])
    call(lambda: _write_torch(folder))
    plan = ("compress", "mlp.onnx", "--data", "npz:x.npz", "--macs", "0.6", "--no-time")
    for made in (
        [*plan, "-o", "thin.onnx", "--save-plan", "plan.json"],
        ["activations", "mlp.onnx", "--data", "npz:x.npz", "-o", "activations.h5"],
    ):
        ended = run(made, folder, Limits())
        if ended.code:
            raise RuntimeError(f"the sound files cannot be made: {ended.err}")
    files |= {
        name: (folder / name).read_bytes()
        for name in ("net.pt", "net.pt2", "plan.json", "activations.h5")
    }
    files["plan.json"] = json.dumps(json.loads(files["plan.json"])).encode()
    return Seeds(folder, models, attention, _outputs(), files)


def _attention() -> onnx.ModelProto:
    """Return an attention node by node, with a mask of what comes later."""
    return written(
        """g (float[N, 5, 6] x) => (float[N, 5, 4] logits) {
          q0 = MatMul (x, wq) q3 = Reshape (q0, heads)
          q = Transpose <perm = [0, 2, 1, 3]> (q3)
          k0 = MatMul (x, wk) k3 = Reshape (k0, heads)
          k = Transpose <perm = [0, 2, 3, 1]> (k3)
          v0 = MatMul (x, wv) v3 = Reshape (v0, heads)
          v = Transpose <perm = [0, 2, 1, 3]> (v3)
          s = MatMul (q, k) d = Mul (s, scale) m = Add (d, later) p = Softmax <axis = -1> (m)
          a = MatMul (p, v) a3 = Transpose <perm = [0, 2, 1, 3]> (a) a0 = Reshape (a3, rows)
          o = MatMul (a0, wo) h = Add (x, o) n = LayerNormalization (h, gamma)
          u = MatMul (n, wu) r = Relu (u) logits = MatMul (r, wl)
        }""",
        wq=(6, 8), wk=(6, 8), wv=(6, 8), wo=(8, 6), wu=(6, 12), wl=(12, 4), gamma=(6,),
        heads=np.array([0, 0, 2, 4]), rows=np.array([0, 0, 8]), scale=np.float32(0.5),
        later=np.triu(np.full((5, 5), -1e9, np.float32), 1),
    )  # fmt: skip


def _outputs() -> dict[str, onnx.ModelProto]:
    """Return networks whose outputs are labels, boxes, maps, embeddings, tokens and numbers."""
    trunk = "t0 = Conv <pads = [1, 1, 1, 1]> (x, wt) t = Relu (t0)"
    weights = {"wt": (8, 3, 3, 3), "wb": (10, 8, 1, 1), "wm": (5, 8, 1, 1), "we": (8, 6)}
    return {
        "heads": written(
            f"""g (float[N, 3, 8, 8] x) =>
              (float[N, 10, 64] output0, float[N, 5, 8, 8] heatmaps, float[N, 6] embedding) {{
              {trunk} b = Conv (t, wb) output0 = Reshape (b, columns) heatmaps = Conv (t, wm)
              p = ReduceMean <axes = [2, 3], keepdims = 0> (t) embedding = MatMul (p, we)
            }}""",
            columns=np.array([0, 10, 64]), **weights,
        ),
        "boxes": written(
            f"""g (float[N, 3, 8, 8] x) => (float[N, 64, 4] boxes, float[N, 64, 6] scores) {{
              {trunk} b = Conv (t, wb) c = Reshape (b, columns)
              r = Transpose <perm = [0, 2, 1]> (c)
              boxes, s = Split <axis = 2> (r, parts) scores = Sigmoid (s)
            }}""",
            columns=np.array([0, 10, 64]), parts=np.array([4, 6]), **weights,
        ),
        "tokens": written(
            """g (int64[N, 7] ids) => (float[N, 7, 11] logits, float[N] value) {
              e = Gather (we, ids) u = MatMul (e, wu) r = Relu (u) logits = MatMul (r, wl)
              v = ReduceMean <axes = [1, 2], keepdims = 0> (r) value = Sigmoid (v)
            }""",
            we=(30, 6), wu=(6, 12), wl=(12, 11),
        ),
    }  # fmt: skip


def _npz(x: Any, y: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, x=x, y=y)
    return stream.getvalue()


def _npy(x: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, x)
    return stream.getvalue()


def _hdf5(x: Any, y: Any) -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_dataset("x", data=x, chunks=(5, 8), compression="gzip")
        file["y"] = y
    return stream.getvalue()


def _idx(rng: np.random.Generator) -> dict[str, bytes]:
    images = rng.integers(0, 256, (EXAMPLES, 8, 8), dtype=np.uint8)
    head = struct.pack(">iiii", 0x803, *images.shape)
    labels = struct.pack(">ii", 0x801, EXAMPLES) + bytes(n % 4 for n in range(EXAMPLES))
    return {
        "t10k-images-idx3-ubyte": head + images.tobytes(),
        "t10k-labels-idx1-ubyte": labels,
        "t10k-images-idx3-ubyte.gz": gzip.compress(head + images.tobytes()),
    }


def _cifar(rng: np.random.Generator) -> dict[str, bytes]:
    images = rng.integers(0, 256, (6, 3072), dtype=np.uint8)
    batch = {b"data": images, b"labels": [0, 1, 2, 3, 4, 5], b"batch_label": b"testing"}
    rows = b"".join(bytes([n]) + image.tobytes() for n, image in enumerate(images))
    return {"test_batch": pickle.dumps(batch, protocol=2), "test_batch.bin": rows}


def _pictures(rng: np.random.Generator) -> dict[str, bytes]:
    files = {}
    for form in PICTURES:
        stream = io.BytesIO()
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(stream, form)
        files[f"picture.{form.lower()}"] = stream.getvalue()
    return files


def _write_torch(folder: Path) -> None:
    import torch
    from torch import nn

    torch.set_num_threads(1)
    network = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 4)).eval()
    example = torch.zeros(2, 8)
    torch.jit.save(torch.jit.script(network), str(folder / "net.pt"))
    batch = torch.export.Dim("batch", min=1, max=1000)
    program = torch.export.export(network, (example,), dynamic_shapes=({0: batch},))
    torch.export.save(program, folder / "net.pt2")
