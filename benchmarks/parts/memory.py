"""The peak of memory of commands, beside ``--memory``, on inputs that are large in one respect.

``python -m benchmarks.parts.memory`` prints the table of ``docs/how-to/long-runs.md``.  It takes
4 GB of disk and up to 7 GB of memory.
"""

import argparse
import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx_ir as ir
import torch
from torch import nn

from benchmarks.measuring.peak_memory import PeakMemory, measure_peak
from benchmarks.networks.timed import random_case
from frivkit.cache.size import format_size, parse_size

MOST = 7 << 30
"""Bytes beyond which a command is ended."""
HEAD = """| case | command | `--memory` | peak | of it not of files | seconds |
|---|---|---|---|---|---|"""


@dataclass(frozen=True, slots=True)
class Case:
    """Files that are large in one respect, and commands on them.

    Attributes:
        name: Its name in the table.
        write: Writes ``net.onnx`` and ``x.npz`` into a folder.
        memory: What ``--memory`` is.
        commands: Command lines that run in the folder.
    """

    name: str
    write: Callable[[Path], None]
    memory: str
    commands: tuple[str, ...]


def write_large(folder: Path, width: int = 8192, layers: int = 11) -> None:
    """Write eleven dense layers of 8,192 units: 2.95 GB of weights in a file of their own."""
    random = np.random.default_rng(0)
    block = random.standard_normal((256, width), np.float32) * np.float32(np.sqrt(2 / width))
    value = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["n", width]))
    inputs, nodes, initializers = [value], [], []
    with (folder / "weights.bin").open("wb") as file:
        for number in range(layers):
            name = f"w{number}"
            offset = file.tell()
            for part in range(width // len(block)):
                file.write(np.roll(block, 31 * part + number, axis=1).tobytes())
            tensor = ir.ExternalTensor(
                "weights.bin",
                offset,
                4 * width * width,
                ir.DataType.FLOAT,
                shape=ir.Shape([width, width]),
                name=name,
                base_dir=folder,
            )
            weight = ir.Value(name=name, const_value=tensor)
            weight.shape, weight.dtype = tensor.shape, tensor.dtype
            initializers.append(weight)
            product = ir.node("MatMul", [value, weight], name=f"fc{number}")
            nodes.append(product)
            value = product.outputs[0]
            if number + 1 < layers:
                nodes.append(ir.node("Relu", [value], name=f"relu{number}"))
                value = nodes[-1].outputs[0]
    value.name, value.type = "y", ir.TensorType(ir.DataType.FLOAT)
    value.shape = ir.Shape(["n", width])
    graph = ir.Graph(
        inputs, [value], nodes=nodes, initializers=initializers, opset_imports={"": 18}, name="g"
    )
    ir.save(ir.Model(graph, ir_version=9), folder / "net.onnx")
    np.savez(folder / "x.npz", x=random.standard_normal((64, width)).astype(np.float32))


def write_resnet50(folder: Path, side: int = 64, examples: int = 64) -> None:
    """Write a ResNet-50 for 1,000 classes with random weights, and Gaussian examples.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, table 1.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
        norm=nn.BatchNorm2d(64),
        relu=nn.ReLU(),
        first_pool=nn.MaxPool2d(3, stride=2, padding=1),
    )
    before = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for number in range(blocks):
            stride = 2 if number == 0 and width > 64 else 1
            layers[f"block{width}_{number}"] = Bottleneck(before, width, stride)
            before = 4 * width
    layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "fc": nn.Linear(2048, 1000)}
    _random(layers, (3, side, side), folder, examples)


def write_many(folder: Path, examples: int = 1_000_000) -> None:
    """Write a net of three dense layers, and 1,000,000 examples of eight numbers."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, before in enumerate((8, 32)):
        layers |= {f"fc{number}": nn.Linear(before, 32), f"relu{number}": nn.ReLU()}
    layers["out"] = nn.Linear(32, 4)
    _random(layers, (8,), folder, examples)


def write_places(folder: Path, side: int = 80, examples: int = 200) -> None:
    """Write two convolutions of 16 maps of 80 x 80 places: 102,400 units each."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, before in enumerate((3, 16)):
        layers[f"conv{number}"] = nn.Conv2d(before, 16, 3, padding=1)
        layers[f"relu{number}"] = nn.ReLU()
    layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "out": nn.Linear(16, 10)}
    _random(layers, (3, side, side), folder, examples)


class Bottleneck(nn.Module):
    """A residual block of 1 x 1, 3 x 3 and 1 x 1 convolutions."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(before, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 4 * width, 1, bias=False),
            nn.BatchNorm2d(4 * width),
        )
        self.short: nn.Module = nn.Identity()
        if stride > 1 or before != 4 * width:
            self.short = nn.Conv2d(before, 4 * width, 1, stride=stride, bias=False)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum behind its ReLU."""
        result: torch.Tensor = self.relu(self.inner(x) + self.short(x))
        return result


def _random(
    layers: "OrderedDict[str, nn.Module]", shape: tuple[int, ...], folder: Path, examples: int
) -> None:
    random_case("net", layers, shape, folder, 2)
    x = np.random.default_rng(0).standard_normal((examples, *shape), np.float32)
    np.savez(folder / "x.npz", x=x)


DATA = "--data npz:x.npz"
CASES = (
    Case(
        "3 GB of weights",
        write_large,
        "2GiB",
        (
            "inspect net.onnx",
            f"analyze net.onnx {DATA} --metric prunability --metric redundancy --layer fc4 "
            "--units map --option repeats=1 --option levels=3",
            f"activations net.onnx {DATA} -o out.h5 --force",
            f"verify net.onnx net.onnx {DATA} --no-time",
            f"compress net.onnx {DATA} -o thin.onnx --macs 0.8 --no-time",
        ),
    ),
    Case(
        "ResNet-50",
        write_resnet50,
        "1GiB",
        (
            "inspect net.onnx",
            f"analyze net.onnx {DATA} --metric redundancy --metric correlation",
            f"activations net.onnx {DATA} -o out.h5 --force --rows 1000",
            f"compress net.onnx {DATA} -o thin.onnx --macs 0.8 --no-time",
            f"verify net.onnx thin.onnx {DATA} --no-time",
        ),
    ),
    Case(
        "1,000,000 examples",
        write_many,
        "256MiB",
        (
            f"analyze net.onnx {DATA} --metric prunability --layer fc0",
            f"analyze net.onnx {DATA} --metric redundancy --metric dead-units --metric correlation",
            f"activations net.onnx {DATA} -o out.h5 --force",
            f"compress net.onnx {DATA} -o thin.onnx --macs 0.5 --no-time",
            f"verify net.onnx thin.onnx {DATA} --no-time",
        ),
    ),
    Case(
        "102,400 units",
        write_places,
        "256MiB",
        tuple(
            f"analyze net.onnx {DATA} --metric {metric} --units location --layer conv0"
            for metric in ("prunability", "redundancy", "dead-units", "correlation")
        ),
    ),
)


def rows(case: Case, folder: Path, only: str, engine: str | None) -> Iterator[str]:
    """Yield a row of the table for each command of a case."""
    case.write(folder)
    environment = os.environ | {"FRIVKIT_CACHE_DIR": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    for number, command in enumerate(case.commands):
        name = command.split()[0]
        if only not in command:
            continue
        arguments = [sys.executable, "-m", "frivkit", *command.split()]
        if name != "inspect":
            arguments += ["--memory", case.memory, "--threads", "1"]
        if engine and name in ("analyze", "activations", "compress"):
            arguments += ["--engine", engine]
        found = measure_peak(arguments, environment, folder, MOST)
        if "--metric" in command:
            name += " " + ", ".join(
                b
                for a, b in zip(command.split(), command.split()[1:], strict=False)
                if a == "--metric"
            )
        yield _row("" if number else case.name, name, case.memory, found)


def _row(case: str, name: str, memory: str, found: PeakMemory) -> str:
    ended = "" if found.exit_code == 0 else f" (exit code {found.exit_code}: {found.output[-300:]})"
    ratio = found.resident / parse_size(memory)
    return (
        f"| {case} | {name}{ended} | {memory} | {format_size(found.resident)} ({ratio:.2f}) | "
        f"{format_size(found.private)} | {found.seconds:.0f} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parts.memory")
    parser.add_argument("--case", action="append", help="only these cases")
    parser.add_argument("--only", default="", help="only commands in which this is")
    parser.add_argument("--engine", help="where tasks run")
    parser.add_argument("--keep", type=Path, help="a folder for the files, which stay there")
    given = parser.parse_args()
    print(HEAD)
    for case in CASES:
        if given.case is None or case.name in given.case:
            with TemporaryDirectory(dir=given.keep) as folder:
                for line in rows(case, Path(folder), given.only, given.engine):
                    print(line, flush=True)


if __name__ == "__main__":
    main()
