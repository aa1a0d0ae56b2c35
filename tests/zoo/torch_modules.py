"""The page of torch modules: what ``frivkit.to_torch`` makes of each network, and what it cannot.

``python -m tests.zoo.torch_modules`` runs all of them and writes the page.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch

import frivkit
from frivkit.graph.model import Model
from frivkit.graph.operators.table import OPERATORS
from frivkit.torch_io.difference import difference
from frivkit.torch_io.from_onnx.comparison import first_difference, outputs_of
from frivkit.torch_io.from_onnx.graph import with_lifted_constants
from frivkit.torch_io.from_onnx.noise import noise_and_outputs
from frivkit.torch_io.from_onnx.translate import translated
from frivkit.torch_io.network import reason_of
from tests.zoo.files import EXPORTERS, UNWRITTEN, ZOO, write
from tests.zoo.gradients import gradient_error
from tests.zoo.packaged import PACKAGED

PAGE = Path(__file__).parents[2] / "docs" / "to-torch-networks.md"

HEAD = """# Networks and operators as torch modules

What [`frivkit.to_torch`](to-torch.md) makes of the networks of the tests.
The page is written by `python -m tests.zoo.torch_modules`, and the tests run a share of it.

*Trained* are the tensors that are parameters, and the numbers in them; *fixed* are the buffers.
*Difference* is the largest one of an output from that of ONNX Runtime, over the largest output (of
1 at least), on two examples of noise.
*Gradient* is the distance of the derivative along a random direction, of all parameters and inputs,
from the central difference; it is over the norm of the gradient or the value, whichever is larger.
It is that before the last softmax, in float64; † marks float32, for files that create numbers of
this type, where 1e-3 is a good agreement.
Both are rounded up to a power of ten.

"""
NETWORKS = """
## The {count} networks of [Networks and exporters](networks.md)

{files} files; all are converted.

| network | exporter | trained | fixed | difference | gradient |
|---|---|---|---|---|---|
"""
PACKAGES = """
## Networks of packages

The weights of the networks named "light" are computed in the file; those that reading folds into
tensors are trained.

| network | trained | fixed | difference | gradient |
|---|---|---|---|---|
"""
NODES = """
## Operators

The package onnx has tests of single nodes.
Of those of {operators} [operators](operators.md) that frivkit follows, with number types that torch
computes with, {right} of {all} give the outputs that onnx expects, to 1e-4.
These do not; a file with such a node is refused if its outputs show the difference:

| operator | right | otherwise | tests, and what happens in the first |
|---|---|---|---|
"""
PLAIN = {"FLOAT", "FLOAT16", "DOUBLE", "INT8", "UINT8", "INT32", "INT64", "BOOL"}
"""Number types that torch computes with."""


@dataclass(frozen=True, slots=True)
class Row:
    """What became of a file.

    Attributes:
        trained: Parameters, and the numbers in them.
        fixed: Buffers.
        apart: The largest difference from ONNX Runtime.
        gradient: The distance from the central difference.
        kind: The number type of the gradient.
    """

    trained: tuple[int, int]
    fixed: int
    apart: float
    gradient: float
    kind: torch.dtype

    @property
    def counts(self) -> str:
        """The cells that do not depend on the machine."""
        return f"{self.trained[0]} ({self.trained[1]:,}) | {self.fixed}"

    @property
    def cells(self) -> str:
        """All cells."""
        mark = " †" if self.kind is torch.float32 else ""
        return f"{self.counts} | {power(self.apart)} | {power(self.gradient)}{mark}"


def power(number: float) -> str:
    """Return a number rounded up to a power of ten."""
    return "0" if number == 0 else f"1e{int(np.ceil(np.log10(number)))}"


def measured(model: Model) -> Row:
    """Return what becomes of a model."""
    names = [value.name for value in model.graph.outputs]
    feeds, expected = noise_and_outputs(model, names)
    module = frivkit.to_torch(model)
    actual = outputs_of(module, model.graph, feeds, names)
    apart = max(
        difference(wanted, actual[name]) / max(1.0, np.abs(wanted).max())
        for name, wanted in expected.items()
    )
    inputs = [torch.from_numpy(array) for array in feeds.values()]
    gradient, kind = gradient_error(_before_softmax(model) or module, inputs)
    sizes = [weight.numel() for weight in module.parameters()]
    trained = (len(sizes), sum(sizes))
    return Row(trained, len(list(module.buffers())), float(apart), gradient, kind)


def _before_softmax(model: Model) -> torch.nn.Module | None:
    """Return a module that ends before the last softmax; None if there is none."""
    last = model.graph.outputs[0].producer()
    if last is None or last.op_type != "Softmax" or len(model.graph.outputs) > 1:
        return None
    return frivkit.to_torch(model, tensors=last.inputs[0].name)


def network_rows(folder: Path) -> Iterator[str]:
    """Return the rows of the networks of the zoo, exporters with the same one together."""
    for name in ZOO:
        found: dict[str, list[str]] = {}
        for exporter in EXPORTERS:
            if (name, exporter) not in UNWRITTEN:
                write(name, exporter, folder / "m.onnx")
                cells = measured(frivkit.load(folder / "m.onnx")).cells
                found.setdefault(cells, []).append(exporter)
        for cells, exporters in found.items():
            yield f"| {name} | {', '.join(exporters)} | {cells} |"


def package_rows(folder: Path) -> Iterator[str]:
    """Return the rows of the networks of packages."""
    for name, known in PACKAGED.items():
        model = frivkit.load(known.file(folder), input_shape=known.shape)
        yield f"| {name} | {measured(model).cells} |"
        print(name, flush=True)


def node_results() -> dict[str, list[tuple[str, str | None]]]:
    """Return for each operator the tests of onnx, and what happens in those that fail."""
    from onnx.backend.test.case.node import collect_testcases

    logging.disable(logging.CRITICAL)
    results: dict[str, list[tuple[str, str | None]]] = {}
    for case in collect_testcases(None):
        nodes = case.model.graph.node
        if len(nodes) != 1 or nodes[0].domain or nodes[0].op_type not in OPERATORS:
            continue
        if case.data_sets and _types(case.model) <= PLAIN:
            found = (case.name.removeprefix("test_"), _fault(case))
            results.setdefault(nodes[0].op_type, []).append(found)
    return results


def _types(model: onnx.ModelProto) -> set[str]:
    values = [*model.graph.input, *model.graph.output]
    return {onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type) for value in values}


def _fault(case: Any) -> str | None:
    graph = with_lifted_constants(ir.from_proto(case.model))
    inputs, outputs = (list(map(_array, part)) for part in case.data_sets[0])
    feeds = {each.name: x for each, x in zip(case.model.graph.input, inputs, strict=False)}
    names = [each.name for each in case.model.graph.output]
    try:
        module, _ = translated(graph)
        actual = outputs_of(module, graph.graph, feeds, names)
    except Exception as error:  # onnx2fx and torch raise anything
        return reason_of(error)
    return first_difference(dict(zip(names, outputs, strict=True)), actual)


def _array(given: Any) -> Any:
    """Return an input or output of a test, which may be a tensor of onnx."""
    is_tensor = isinstance(given, onnx.TensorProto)
    return onnx.numpy_helper.to_array(given) if is_tensor else np.asarray(given)


def node_rows(results: Mapping[str, Sequence[tuple[str, str | None]]]) -> Iterator[str]:
    """Return the rows of operators with tests that fail."""
    for op, cases in sorted(results.items()):
        bad = [(name, reason) for name, reason in cases if reason is not None]
        if bad:
            shown = ", ".join(f"`{name}`" for name, _ in bad[:3])
            shown += f" and {len(bad) - 3} more" if len(bad) > 3 else ""
            reason = " ".join((bad[0][1] or "").replace("|", "/").split())[:100]
            yield f"| {op} | {len(cases) - len(bad)} | {len(bad)} | {shown}: {reason} |"


def page() -> str:
    """Return the page."""
    warnings.simplefilter("ignore")
    with TemporaryDirectory() as folder:
        networks = list(network_rows(Path(folder)))
        packages = list(package_rows(Path(folder)))
    results = node_results()
    right = [reason is None for cases in results.values() for _, reason in cases]
    files = len(ZOO) * len(EXPORTERS) - len(UNWRITTEN)
    parts = [
        HEAD.strip() + "\n",
        NETWORKS.format(count=len(ZOO), files=files) + "\n".join(networks) + "\n",
        PACKAGES + "\n".join(packages) + "\n",
        NODES.format(operators=len(results), right=sum(right), all=len(right))
        + "\n".join(node_rows(results))
        + "\n",
    ]
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
