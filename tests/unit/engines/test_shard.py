"""Shards of an analysis: each measures its layers, and the run without a shard merges them."""

import pytest

import frivkit
from frivkit.cli import main
from frivkit.errors import UsageError
from frivkit.testing.tiny_models import residual, write


def test_shards_meet_in_the_cache(tmp_path):
    path = write(residual(), tmp_path / "net.onnx")
    metrics = ["prunability", "redundancy"]

    def measured(shard=None, cache=tmp_path / "cache"):
        arguments = {"threads": 1, "data": "gaussian?seed=1", "examples": 100}
        return frivkit.analyze(path, metrics, shard=shard, cache=cache, **arguments)

    whole = measured(cache=False)
    parts = [measured(f"{i}/2") for i in (1, 2)]
    assert sorted(layer for part in parts for layer in part.layers) == sorted(whole.layers)
    assert all(len(part.layers) < len(whole.layers) for part in parts)
    merged = measured()
    assert merged.document["measurements"] == whole.document["measurements"]
    assert merged.document["provenance"]["reused"]["ablation runs"] > 0
    runs = merged.document["provenance"]["execution"]
    assert runs["threads"] == 1
    assert len(runs["machines"]) == 1
    with pytest.raises(UsageError, match=r"shard 9/9 of net\.onnx has no layer: there are"):
        measured("9/9")


def test_shard_needs_the_cache(tmp_path, capsys):
    path = write(residual(), tmp_path / "net.onnx")
    with pytest.raises(SystemExit) as ended:
        main(["analyze", str(path), "--shard", "1/2", "--no-cache"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "leave --no-cache out" in line
