"""The commands that write files, on small inputs, and how what they wrote is compared."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reliability.running.outputs import (
    array_digests,
    digest,
    json_values,
    row_values,
    whole_json,
    whole_page,
)

DATA = ("--data", "npz:x.npz")


@dataclass(frozen=True, slots=True)
class WritingCommand:
    """A command that writes files.

    Attributes:
        arguments: Its command line.
        outputs: For each file that it writes, a function from the file to what must be equal; it
            raises an error if the file is not whole.
        grows: Whether its outputs grow line by line, so that an unfinished one is no fault.
    """

    arguments: tuple[str, ...]
    outputs: Mapping[str, Callable[[Path], Any]]
    grows: bool = False


WRITING = {
    "analyze": WritingCommand(
        (
            *("analyze", "net.onnx", *DATA, "--metric", "prunability", "--metric", "redundancy"),
            *("--json", "result.json", "--report", "page.html", "--units", "map"),
        ),
        {"result.json": json_values, "page.html": whole_page},
    ),
    "activations": WritingCommand(
        ("activations", "net.onnx", *DATA, "-o", "out.h5", "--force", "--memory", "4MB"),
        {"out.h5": array_digests},
    ),
    "compress": WritingCommand(
        (
            *("compress", "net.onnx", *DATA, "-o", "thin.onnx", "--macs", "0.5", "--no-time"),
            *("--json", "result.json", "--report", "page.html"),
        ),
        {"thin.onnx": digest, "result.json": json_values, "page.html": whole_page},
    ),
    "frontier": WritingCommand(
        (
            *("compress", "net.onnx", *DATA, "--frontier", "--macs", "0.7,0.5", "--no-time"),
            *("-o", "thin-{budget}.onnx", "--json", "result.json", "--report", "page.html"),
        ),
        {
            **dict.fromkeys(("thin-0.7.onnx", "thin-0.5.onnx"), digest),
            "result.json": json_values,
            "page.html": whole_page,
        },
    ),
    "verify": WritingCommand(
        ("verify", "net.onnx", "wide.onnx", *DATA, "--no-time", "--json", "result.json"),
        {"result.json": json_values},
    ),
    "advise": WritingCommand(
        (
            *("advise", "net.onnx", "wide.onnx", *DATA, "--json", "result.json"),
            *("--report", "page.html", "--examples", "100", "--option", "batch=25"),
        ),
        {"result.json": json_values, "page.html": whole_page},
    ),
    "visualize": WritingCommand(
        (
            *("visualize", "net.onnx", *DATA, "--layer", "conv1", "--units", "2"),
            *("--steps", "6", "-o", "units"),
        ),
        {
            "units/results.json": json_values,
            "units/index.html": whole_page,
            "units/01-conv1.png": digest,
        },
    ),
    "train": WritingCommand(
        (
            *("train", "mlp", "--data", "digits?n=400", "--width", "0.25"),
            *("--option", "epochs=4", "-o", "trained.onnx"),
        ),
        {"trained.onnx": digest},
    ),
    "sweep": WritingCommand(
        ("sweep", "recipe.toml", "-o", "swept"),
        {"swept/results.jsonl": row_values, "swept/run.json": whole_json},
        grows=True,
    ),
}
"""The commands that write files, by name."""
