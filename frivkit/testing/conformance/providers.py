"""The rules of model providers."""

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.errors import FrivkitError, ModelError
from frivkit.graph.model import Model, Provider, external_files, signature
from frivkit.runtime.session import Device, Session
from frivkit.testing.conformance.rules import Rules

CLOSE = 1e-5
"""The difference between outputs, relative to the largest or to 1."""


def check_model_provider(
    provider: Provider,
    file: Path,
    inputs: Mapping[str, NDArray[Any]],
    outputs: Sequence[NDArray[Any]] | None = None,
    options: Mapping[str, str] | None = None,
) -> Model:
    """Check that a provider opens a file as a model that computes the same.

    - ``model``: it returns a Model of that file.
    - ``inputs``: names, number types and shapes are those of the graph.
    - ``digest``: 64 hexadecimal digits, the same for a copy of the file.
    - ``outputs``: the model gives the outputs of the file, and for half of the examples half of
      them, unless it insists on a batch size.
    - ``detached``: it runs after the file was removed, unless weights lie in files of their own.
    - ``unchanged``: the file and its folder are as they were.
    - ``errors``: a file of another kind is a ModelError of one line.

    Args:
        provider: The target; it need not be registered.
        file: A file that it can open.
        inputs: Examples for each input, shapes (n, ...), n at least 2.
        outputs: The outputs of the network in the file for these examples, as it gives them
            elsewhere; None lets ONNX Runtime run the file.
        options: Options of the provider.

    Returns:
        The model.

    Raises:
        LawError: a rule is broken.
    """
    rules = Rules("model_providers", file.name)
    rules.shape(provider)
    requested = dict(options or {})
    before = _contents(file.parent)
    model = provider(file, requested)
    rules.require(isinstance(model, Model), "model", f"it returns a {type(model).__name__}")
    rules.require(model.format, "model", "it has no format")
    _check_signature(rules, model)
    proper = isinstance(model.sha256, str) and re.fullmatch(r"[0-9a-f]{64}", model.sha256)
    rules.require(proper, "digest", f"expected 64 hexadecimal digits, found {model.sha256!r}")
    if outputs is None:
        names = [value.name or "" for value in model.graph.outputs]
        outputs = Session(file, Device(threads=1)).run(inputs, names)
    _check_outputs(rules, "outputs", model, inputs, outputs)
    if model.batch is None:
        half = len(outputs[0]) // 2
        some = {name: array[:half] for name, array in inputs.items()}
        _check_outputs(rules, "outputs", model, some, [array[:half] for array in outputs])
    after = _contents(file.parent)
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    rules.require(not changed, "unchanged", f"{', '.join(changed)} changed while it was read")
    with tempfile.TemporaryDirectory() as folder:
        if not external_files(model.ir):
            copy = Path(folder) / file.name
            shutil.copy(file, copy)
            again = provider(copy, requested)
            copy.unlink()
            rules.require(again.sha256 == model.sha256, "digest", "that of a copy is another one")
            _check_outputs(rules, "detached", again, inputs, outputs)
        _check_errors(rules, provider, Path(folder) / f"other{''.join(file.suffixes)}", requested)
    return model


def _contents(folder: Path) -> dict[str, str]:
    return {
        path.name: sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.is_file()
    }


def _check_signature(rules: Rules, model: Model) -> None:
    try:
        inputs, batch = signature(model.graph, model.path.name)
    except ModelError as error:
        raise rules.broken("inputs", error) from error
    rules.require(
        tuple(model.inputs) == inputs and model.batch == batch,
        "inputs",
        f"it has {model.inputs} and batch {model.batch}, its graph {inputs} and {batch}",
    )


def _check_outputs(
    rules: Rules,
    rule: str,
    model: Model,
    inputs: Mapping[str, NDArray[Any]],
    outputs: Sequence[NDArray[Any]],
) -> None:
    names = [value.name or "" for value in model.graph.outputs]
    rules.require(
        len(names) == len(outputs), rule, f"it has {len(names)} outputs, the file {len(outputs)}"
    )
    try:
        arrays = Session(model.ir, Device(threads=1)).run(inputs, names)
    except Exception as error:  # weights in a file that is gone fail in many ways
        raise rules.broken(rule, f"it cannot be run: {type(error).__name__}: {error}") from error
    for name, mine, expected in zip(names, arrays, outputs, strict=True):
        rules.require(
            mine.shape == expected.shape,
            rule,
            f"output {name!r} has shape {mine.shape}, that of the file {expected.shape}",
        )
        apart = float(np.abs(mine.astype(np.float64) - expected).max())
        limit = CLOSE * max(1.0, float(np.abs(expected).max()))
        rules.require(apart <= limit, rule, f"output {name!r} is {apart:.2g} away from the file's")


def _check_errors(rules: Rules, provider: Provider, path: Path, options: Mapping[str, str]) -> None:
    path.write_bytes(b"nothing of the kind")
    try:
        provider(path, options)
    except FrivkitError as error:
        rules.require(
            isinstance(error, ModelError),
            "errors",
            f"a file of another kind is a {type(error).__name__}, not a ModelError",
        )
        rules.one_line(error, "a file of another kind")
    except Exception as error:  # a provider may raise anything
        reason = f"a file of another kind is a {type(error).__name__}, not a ModelError"
        raise rules.broken("errors", reason) from error
    else:
        raise rules.broken("errors", "a file of another kind is opened")
