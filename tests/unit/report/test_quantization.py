"""The result of an int8 file as a document and as text."""

import json

import numpy as np
import onnx
import pytest

from frivkit.data import as_dataset
from frivkit.graph.onnx_io.load import read
from frivkit.latency import timing
from frivkit.provenance import Clock
from frivkit.quantization import Int8Options, write_int8
from frivkit.report.quantization import int8_document, int8_text
from frivkit.runtime.execution import Execution
from tests.handmade import written


@pytest.fixture
def document(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "SECONDS", 0.01)
    monkeypatch.setattr(timing, "TURN", 0.0001)
    text = """g (float[N, 8] x) => (float[N, 4] y) {
      h = Gemm (x, wh, bh)
      e = Erf (h)
      y = Gemm (e, wy, by)
    }"""
    onnx.save(written(text, wh=(8, 16), bh=(16,), wy=(16, 4), by=(4,)), tmp_path / "net.onnx")
    model = read(tmp_path / "net.onnx")
    rows = np.random.default_rng(0).standard_normal((2, 100, 8)).astype(np.float32)
    data, held_out = (as_dataset(each, model.inputs) for each in rows)
    result = write_int8(
        model,
        model.path,
        tmp_path / "int8.onnx",
        data=data,
        held_out=held_out,
        execution=Execution(threads=1),
        options=Int8Options(reduce_range=True),
    )
    return int8_document(result, Clock.start(), 0)


def test_document_has_the_facts(document):
    assert json.loads(json.dumps(document)) == document
    assert document["weight_bits"] == 7
    assert document["float_nodes"] == {"Erf": 1}
    assert document["refined"] == 2
    verification, other = document["verification"], document["against_float"]
    assert verification["agreement"]["labels"] == other["agreement"]["labels"] >= 0.9
    assert other["bytes"] == verification["original"]["bytes"]
    assert all(len(ratio) == 3 for ratio in other["latency_ratio"].values())


def test_text_begins_with_where_int8_loses(document):
    slow = "int8 is slower than net.onnx at batch 1: 1.20 of its time"
    document["warnings"], document["path"] = [slow], "bad\x1b[31m.onnx"
    text = int8_text(document)
    assert text.startswith(f"{slow}\n\n")
    assert "\x1b" not in text
    assert "Weights have 7 bits. Still in float: 1 Erf." in " ".join(text.split())
    ratio = document["against_float"]["latency_ratio"]["64"]
    assert f"{ratio[1]:.3f} of its time at batch 64" in " ".join(text.split())
    document["warnings"], document["float_nodes"] = [], {}
    document["against_float"]["latency_ratio"] = {"1": None}
    plain = int8_text(document)
    assert slow not in plain
    assert "original" in plain
    assert "Still in float" not in plain
    assert "of its time" not in plain
