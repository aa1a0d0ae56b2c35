"""The arguments that functions of the Python API share, and the requests made of them."""

import os
import sys
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, Union

import numpy as np

from frivkit.api.models import ModelLike, opened
from frivkit.api.values import above_zero, text, texts, whole
from frivkit.cache import Cache, parse_size
from frivkit.data import Data
from frivkit.engines.engine import Engine
from frivkit.engines.open import open_engine
from frivkit.errors import UsageError
from frivkit.files import is_special
from frivkit.measure.pipeline import Request
from frivkit.progress import Progress, Silent
from frivkit.runtime.execution import Execution, default_memory
from frivkit.runtime.labels import LabelOptions

if TYPE_CHECKING:
    from frivkit.compression.constraints import Constraints
    from frivkit.compression.method import Method
    from frivkit.torch_io.load import Example

PathLike: TypeAlias = Union[str, "os.PathLike[str]"]


class Arguments(TypedDict, total=False):
    """Arguments that every function takes which runs a model, named as the command line's options.

    Attributes:
        example: For a torch module: what it takes, examples first; by default the first examples
            of ``data``.
        examples: Use at most so many examples.
        seed: The seed of all random choices (0).
        device: ``"cpu"`` (the default) or ``"cuda"``.
        threads: Threads of one run; None lets ONNX Runtime decide.
        memory: What may be taken, with weights and all processes: bytes, or a text such as
            ``"2GiB"``; by default that, or 512 MiB for each process if that is more.
        engine: Where batches are run: the name of an engine, ``"local"`` by default, or an engine.
        output_name: The output whose labels are compared; None takes the first.
        label_axis: The axis of the output along which classes lie, the batch being 0; None takes
            1, or that of a softmax at the end.
        task: How outputs are compared, such as ``"classify"`` or ``"detect"``; None chooses by
            their names and shapes.
        regression: The task ``"regress"``, in which numbers count as changed if they move by more
            than this share of their standard deviation (0.1).
        input_shape: Sizes that the file leaves open, such as ``"1x3x32x32"``.
        inputs: Numbers for inputs that have no axis for examples, such as ``{"sr": 16000}``.
        trust: Whether formats that can run code (TorchScript, ``.pt2``) may be read (False).
        progress: True shows a progress bar on stderr; or an object that is told of steps.
    """

    example: "Example | None"
    examples: int | None
    seed: int
    device: str
    threads: int | None
    memory: int | str
    engine: str | Engine
    output_name: str | None
    label_axis: int | None
    task: str | None
    regression: float | None
    input_shape: str | None
    inputs: Mapping[str, Any]
    trust: bool
    progress: bool | Progress


def request_of(
    command: str, model: ModelLike, data: Data | None, given: Arguments, **more: Any
) -> Request:
    """Return the request for a model in any of the forms that people have.

    Args:
        command: The function that was called, for messages.
        model: The model.
        data: The data; None takes those that the model names, else noise.
        given: The shared arguments.
        more: Further fields of the request.

    Raises:
        TypeError: an argument is not known.
        UsageError: an argument has a value that means nothing.
        ModelError: the model cannot be opened.
    """
    check_names(command, given)
    input_shape, trust = given.get("input_shape"), given.get("trust", False)
    examples = given.get("examples")
    inputs = given_numbers(given.get("inputs", {}))
    return Request(
        model=opened(
            model,
            given.get("example"),
            data=data,
            input_shape=input_shape,
            inputs=inputs,
            trust=trust,
        ),
        data=data,
        examples=None if examples is None else whole("examples", examples, 1),
        output=given.get("output_name"),
        input_shape=input_shape,
        inputs=inputs,
        trust=trust,
        execution=_execution(given),
        **more,
    )


def given_numbers(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers for inputs without examples as Python's numbers, in lists."""
    return {name: np.asarray(each).tolist() for name, each in inputs.items()}


def check_names(command: str, given: Arguments) -> None:
    """Raise a TypeError if an argument is not known; the message holds the nearest names."""
    known = Arguments.__annotations__
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=2)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise TypeError(f"frivkit.{command}() takes no argument {name!r}{hint}")


def progress_of(progress: bool | Progress) -> Progress:
    """Return what reports progress: a bar or lines on stderr for True, nothing for False.

    Raises:
        UsageError: it is neither a bool nor an object with the methods of ``Progress``.
    """
    if not isinstance(progress, bool):
        if not all(hasattr(progress, name) for name in ("start", "advance", "finish")):
            raise UsageError(
                f"progress is {progress!r}; give True, False, or an object with the methods "
                "start, advance and finish"
            )
        return progress
    if not progress:
        return Silent()
    from frivkit.cli.progress import ProgressLines, TerminalProgress
    from frivkit.terminals import is_dumb, is_terminal

    drawn = is_terminal(sys.stderr) and not is_dumb()
    return TerminalProgress(hidden=False) if drawn else ProgressLines()


def cache_of(cache: PathLike | bool) -> Cache:
    """Return the cache of a folder, the usual one for True, or one that keeps nothing for False.

    Raises:
        UsageError: it is something else.
    """
    if not isinstance(cache, bool | str | os.PathLike):
        raise UsageError(f"cache is {cache!r}; give a folder, True or False")
    if cache is False:
        return Cache(None)
    return Cache.open_default(None if cache is True else Path(cache))


def file_path(name: str, path: PathLike) -> Path:
    """Return the path of a file.

    Raises:
        UsageError: it is no path, or that of a pipe or a device.
    """
    if not isinstance(path, str | os.PathLike) or not Path(path).name:
        raise UsageError(f"{name} is {path!r}; give the path of a file")
    if is_special(Path(path)) and not Path(path).is_dir():
        raise UsageError(f"{name} is {str(path)!r}, no regular file; give the path of a file")
    return Path(path)


def method_of(
    basis: str | None, ranking: str | None, refit: str | None, allocation: str | None
) -> "Method":
    """Return the method of a compression; None takes a default.

    Raises:
        UsageError: a name is no text, or there is no such allocation.
    """
    from frivkit.compression.method import Method

    chosen = {"basis": basis, "ranking": ranking, "refit": refit, "allocation": allocation}
    return Method(**{key: text(key, name) for key, name in chosen.items() if name is not None})  # type: ignore[arg-type]  # checked by Method


def constraints_of(
    round_to: int | str,
    target: str | None,
    keep_layer: str | Iterable[str],
    least: int,
    ratio: Mapping[str, float] | None,
) -> "Constraints":
    """Return what a plan must keep to beside its budget.

    Raises:
        UsageError: a value means nothing.
    """
    from frivkit.compression.constraints import Constraints

    widths = {"auto": "auto", "none": 1}.get(round_to) if isinstance(round_to, str) else round_to
    if widths is None:
        raise UsageError(f"round_to is {round_to!r}; give 'auto', 'none' or a whole number")
    ratios = {str(k): above_zero("ratio", v, most=1) for k, v in dict(ratio or {}).items()}
    return Constraints(
        "auto" if isinstance(widths, str) else whole("round_to", widths, 1),
        None if target is None else text("target", target),
        texts("keep_layer", keep_layer),
        whole("least", least, 1),
        ratios,
    )


def _execution(given: Arguments) -> Execution:
    engine = _engine_of(given.get("engine", "local"))
    memory = given.get("memory", default_memory(engine))
    size = parse_size(memory) if isinstance(memory, str) else int(above_zero("memory", memory))
    if size <= 0:
        raise UsageError(f"memory is {memory}; give a size above 0, such as '500MB'")
    threads = given.get("threads")
    regression, axis = given.get("regression"), given.get("label_axis")
    task = given.get("task")
    return Execution(
        device=given.get("device", "cpu"),
        memory=size,
        whole=size,
        threads=None if threads is None else whole("threads", threads, 1),
        seed=whole("seed", given.get("seed", 0), 0),
        progress=progress_of(given.get("progress", False)),
        labels=LabelOptions(
            None if axis is None else whole("label_axis", axis, None),
            None if regression is None else above_zero("regression", regression),
            None if task is None else text("task", task),
        ),
        engine=engine,
    )


def _engine_of(engine: str | Engine) -> Engine:
    if hasattr(engine, "map") and not isinstance(engine, str):
        return engine
    if not isinstance(engine, str):
        raise UsageError(f"engine is {engine!r}; give the name of an engine, or an engine")
    return open_engine(engine)
