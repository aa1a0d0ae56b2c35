"""Transformers as people have them: how many units of each can leave, and that it is exact."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

from frivkit.compression.locks import find_removable
from frivkit.graph.interface import restored
from frivkit.graph.sites.groups import find_groups
from frivkit.graph.sites.site_map import find_sites
from frivkit.graph.surgery.narrow import narrow
from frivkit.runtime.session import Device
from frivkit.runtime.shape_probe import with_some_sizes
from tests.nets import draw
from tests.surgery import check, close, drawn, run, zeroed
from tests.zoo import known_transformers as known
from tests.zoo.files import opened_file
from tests.zoo.masks import check_masks

QUICK, SLOW = ("legacy 17",), ("dynamo 18", "dynamo 23")
"""torch's tracing exporter, and its newer one, which takes seconds."""


@dataclass(frozen=True, slots=True)
class Case:
    """A network, and what can leave of it.

    Attributes:
        make: Builds it.
        units: Units in all layers that can leave, by their pruning groups.
        heads: By attention the heads that can leave, and the shapes of blocks.
        inputs: ``words``, ``words and mask`` or ``picture``.
    """

    make: Callable[[], nn.Module]
    units: int
    heads: tuple[Any, ...]
    inputs: str = "words"

    @property
    def names(self) -> list[str]:
        return {"words": ["ids"], "picture": ["x"]}.get(self.inputs, ["ids", "mask"])

    def examples(self, count: int, tokens: int = known.TOKENS) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(count)
        if self.inputs == "picture":
            return (torch.randn(count, 3, 8, 8, generator=generator),)
        ids = torch.randint(known.WORDS, (count, tokens), generator=generator)
        long = torch.randint(tokens // 2, tokens + 1, (count, 1), generator=generator)
        mask = (torch.arange(tokens) < long).to(torch.int64)
        return (ids,) if self.inputs == "words" else (ids, mask)


APART = (3, ((3, 4), (3, 4)))
PACKED = (3, ((6, 4),))
CASES = {
    "BERT": Case(known.Bert, 112, (APART, APART), "words and mask"),
    "ViT": Case(lambda: known.ViT(fused=False), 100, (PACKED, PACKED), "picture"),
    "ViT, fused": Case(lambda: known.ViT(fused=True), 100, (PACKED, PACKED), "picture"),
    "GPT-2": Case(known.GPT2, 100, (APART, APART)),
    "Llama": Case(known.Llama, 88, ((2, ((2, 2), (2, 4))),) * 2),
    "T5": Case(known.T5, 112, ((3, ((3, 5), (3, 5))),) * 2),
    "NeoX, selected": Case(lambda: known.NeoX("select"), 100, (PACKED, PACKED)),
    "NeoX, chunks": Case(lambda: known.NeoX("chunk"), 100, (PACKED, PACKED)),
    "NeoX, split": Case(lambda: known.NeoX("split"), 100, (PACKED, PACKED)),
    "one head of keys": Case(known.MultiQuery, 21, ((None, ((1, 4),)),)),
    "time-major layer": Case(lambda: known.TimeMajor("layer"), 56, (APART,)),
    "time-major attention": Case(lambda: known.TimeMajor("attention"), 36, (APART,)),
    "time-major, products": Case(lambda: known.TimeMajor("crossed"), 36, (APART,)),
    "torch, behind": Case(lambda: known.BatchFirst(before=False), 100, (APART, APART)),
    "torch, before": Case(lambda: known.BatchFirst(before=True), 100, (APART, APART)),
}
"""Layouts of attention, by whose they are."""
OPEN = ("GPT-2", "NeoX, selected")
"""Those whose tokens are in rows, with a mask of their number, and in heads only."""


def exported(case: Case, exporter: str, *, open_tokens: bool = False) -> bytes:
    """Write a network with a free batch, and perhaps any number of tokens."""
    net, stream = case.make(), BytesIO()
    draw(net)
    kind, _, opset = exporter.partition(" ")
    axes = {0: "N", 1: "T"} if open_tokens else {0: "N"}
    more: dict[str, Any] = {"dynamo": kind == "dynamo"}
    if kind == "dynamo":
        shapes = tuple({0: torch.export.Dim("N")} for _ in case.names)
        more |= {"dynamic_shapes": shapes, "external_data": False, "verbose": False}
    else:
        more |= {"dynamic_axes": {**dict.fromkeys(case.names, axes), "y": {0: "N"}}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters deprecate themselves and each other
        torch.onnx.export(
            net.eval(), case.examples(3), stream, opset_version=int(opset),
            input_names=case.names, output_names=["y"], **more,
        )  # fmt: skip
    return stream.getvalue()


def feeds(case: Case, count: int, tokens: int = known.TOKENS) -> dict[str, np.ndarray]:
    arrays = [each.numpy() for each in case.examples(count, tokens)]
    return dict(zip(case.names, arrays, strict=True))


def as_stored(data: bytes, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Run a file as it is."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(None, inputs)


@pytest.mark.parametrize(
    ("name", "exporter"),
    [
        pytest.param(name, exporter, marks=[pytest.mark.slow] if exporter in SLOW else [])
        for name in CASES
        for exporter in (*QUICK, *SLOW)
    ],
)
def test_units_of_every_layout_leave_exactly(name, exporter, tmp_path):
    case = CASES[name]
    path = tmp_path / "net.onnx"
    path.write_bytes(exported(case, exporter))
    model = opened_file(path)
    inputs = feeds(case, 2)
    close(run(model.ir, inputs), as_stored(path.read_bytes(), inputs))  # as it is read
    site_map = find_sites(model)
    removable = find_removable(model, site_map).pruning_graph.groups
    assert (removable.count, int(removable.free.sum())) == (case.units, case.units)
    found = tuple(
        (None if each.fixed else each.count, tuple(block.groups.shape for block in each.blocks))
        for each in removable.heads
    )
    assert found == case.heads
    assert not any(block.fixed for each in removable.heads for block in each.blocks)
    groups = find_groups(model, site_map)
    for seed in (0, 1):
        keep = drawn(groups, seed)
        assert sum(int((~flags).sum()) for flags in keep.values()) > 0
        compressed = narrow(model, site_map, keep)
        check(compressed)
        close(run(compressed, inputs), run(zeroed(model, site_map, keep), inputs))


@pytest.mark.parametrize("name", OPEN)
def test_what_can_leave_is_known_for_any_number_of_tokens(name, tmp_path):
    case = CASES[name]
    path = tmp_path / "net.onnx"
    path.write_bytes(exported(case, "legacy 17", open_tokens=True))
    model = with_some_sizes(opened_file(path), Device(threads=1))
    site_map = find_sites(model)
    removable = find_removable(model, site_map).pruning_graph.groups
    assert (removable.count, int(removable.free.sum())) == (case.units, case.units)
    keep = drawn(find_groups(model, site_map), seed=3)
    graphs = model.ir, narrow(model, site_map, keep), zeroed(model, site_map, keep)
    whole, compressed, masked = (restored(each, model.ir, model.interface) for each in graphs)
    for tokens in (5, 9):
        inputs = feeds(case, 2, tokens)
        close(run(whole, inputs), as_stored(path.read_bytes(), inputs))
        close(run(compressed, inputs), run(masked, inputs))


@pytest.mark.parametrize("name", ["Llama", "time-major layer"])
def test_masks_do_through_heads_and_gates_what_they_say(name, tmp_path: Path):
    case = CASES[name]
    path = tmp_path / "net.onnx"
    path.write_bytes(exported(case, "legacy 17"))
    model = opened_file(path)
    assert check_masks(model, find_sites(model), feeds(case, 3), "y") > 0


def test_a_rewritten_file_has_an_output_under_its_name(tmp_path):
    """Where the axes that were merged end in an output of the network."""
    path = tmp_path / "net.onnx"
    path.write_bytes(exported(CASES["time-major, products"], "legacy 17"))
    model = opened_file(path)
    assert [value.name for value in model.graph.outputs] == ["y"]
    assert not [node for node in model.graph if node.op_type == "Gemm" and "out" in node.name]
    assert ir.to_proto(model.ir).ByteSize() < 2 * path.stat().st_size
