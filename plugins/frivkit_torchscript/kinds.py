"""The kind of a file that torch wrote, found without running any of it."""

import pickletools
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, Literal

from frivkit.errors import ModelError

Kind = Literal["torchscript", "torch.export"]

LOOKED_AT = 1 << 24
"""Bytes of a pickle that are searched for names."""

WEIGHTS = ("torch._utils", "torch._tensor", "torch.nn.parameter", "torch.storage", "collections")
"""Modules whose names occur in a pickle of weights."""

CURE = (
    "in Python, open the network with frivkit.load(module, example), or write it with "
    "torch.jit.save or torch.onnx.export"
)


def kind_of(path: Path) -> Kind:
    """Return the kind of a file.

    Raises:
        ModelError: it is of neither kind; the message names what it is.
    """
    if not path.is_file():
        problem = "is a folder or a device" if path.exists() else "does not exist"
        raise ModelError(f"model file {path} {problem}; give the path of a file")
    try:
        with path.open("rb") as file:
            head = file.read(4)
            file.seek(0)
            if head[:2] == b"PK":
                return _archived(path, file)
            if head[:1] == b"\x80":  # what torch.save wrote before 1.6
                raise _pickled(path, file)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    problem = "is not what torch.jit.save or torch.export.save writes" if head else "is empty"
    raise ModelError(f"{path} {problem}; give a complete .pt or .pt2 file")


def _archived(path: Path, file: IO[bytes]) -> Kind:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            parts = {name.partition("/")[2] for name in names}
            if "constants.pkl" in parts and any(part.startswith("code/") for part in parts):
                return "torchscript"
            if "serialized_exported_program.json" in {*names, *parts} or any(
                part.startswith("models/") and part.endswith(".json") for part in parts
            ):
                return "torch.export"
            pickle = next((name for name in names if name.partition("/")[2] == "data.pkl"), None)
            if pickle is not None:
                with archive.open(pickle) as stream:
                    raise _pickled(path, stream)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise ModelError(
            f"{path} is cut short or damaged: {error}; give a complete file"
        ) from error
    raise ModelError(
        f"{path} is an archive of something else than a network of torch; give a file written by "
        "torch.jit.save or torch.export.save"
    )


def _pickled(path: Path, stream: IO[bytes]) -> ModelError:
    """Return the error for a pickle, which is not opened since that could run any code."""
    foreign = next((name for name in _names(stream.read(LOOKED_AT)) if not _of_weights(name)), None)
    if foreign is None:
        return ModelError(
            f"{path} holds weights without their network (a state dict, by torch.save): {CURE}"
        )
    return ModelError(
        f"{path} is a pickle with {foreign.replace(' ', '.')[:100]} (by torch.save), which can be "
        f"opened only where its classes are: {CURE}"
    )


def _of_weights(name: str) -> bool:
    module, _, attribute = name.partition(" ")
    tensors = module == "torch" and attribute.endswith(("Storage", "Size", "device"))
    return tensors or module in WEIGHTS or module.startswith("numpy")


def _names(content: bytes) -> Iterator[str]:
    """Yield the ``module name`` of each import of consecutive pickles."""
    stream = BytesIO(content)
    texts: list[str] = []
    try:
        while stream.tell() < len(content):
            for operation, argument, _ in pickletools.genops(stream):
                if operation.name in ("GLOBAL", "INST"):
                    yield str(argument)
                elif operation.name == "STACK_GLOBAL" and len(texts) > 1:
                    yield " ".join(texts[-2:])
                elif isinstance(argument, str):
                    texts.append(argument)
    except Exception:  # truncated, or bytes of a tensor after the last pickle
        return
