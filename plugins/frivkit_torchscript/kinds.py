"""Which kind of file of torch a file is, told without loading anything from it."""

import zipfile
from pathlib import Path
from typing import Literal

from frivkit.errors import ModelError

Kind = Literal["torchscript", "torch.export"]
PICKLE = b"\x80"
"""The first byte of a file that torch.save wrote before version 1.6."""


def kind_of(path: Path) -> Kind:
    """Tell what a file holds.

    Raises:
        ModelError: it is not there, is no file of torch, or holds weights and no network.
    """
    if not path.is_file():
        found = "is a folder or a device" if path.exists() else "does not exist"
        raise ModelError(f"model file {path} {found}; give the path of a file of torch")
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        with path.open("rb") as stream:
            start = stream.read(1)
        if start == PICKLE:
            raise _only_weights(path) from None
        raise ModelError(
            f"{path} cannot be read as a file of torch: {error or 'it is damaged'}; give a whole "
            "file of torch.jit.save or torch.export.save"
        ) from None
    if "constants.pkl" in names:
        return "torchscript"
    if any(name.startswith("models/") for name in names) or "archive_format" in names:
        return "torch.export"
    if "data.pkl" in names:
        raise _only_weights(path)
    raise ModelError(f"{path} is a zip file, and none of torch's; give a file of torch.jit.save")


def _only_weights(path: Path) -> ModelError:
    return ModelError(
        f"{path} holds weights, or a module by its name, and no network that could be run: write "
        "the network with torch.jit.save or torch.onnx.export, or call frivkit.load(module, "
        "example) in Python"
    )
