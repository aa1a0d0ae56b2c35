"""The budgets of ``frivkit compress``: exactly one kind, with one share or several."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from frivkit.errors import UsageError
from frivkit.files import is_special

if TYPE_CHECKING:
    from frivkit.compression.budget import Budget, Kind

BUDGETS: dict["Kind", str] = {
    "latency": "--latency",
    "macs": "--macs",
    "params": "--params",
    "units": "--units-kept",
    "agreement": "--agreement",
    "tolerance": "--tolerance",
}
"""The option of each kind."""


def requested_budgets(
    shares: Mapping[str, tuple[float, ...] | None], plan_file: Path | None
) -> "list[Budget]":
    """Return the requested budgets, all of one kind.

    Raises:
        UsageError: there is none, there are several kinds, or a share is out of range.
    """
    from frivkit.compression.budget import Budget

    given = [kind for kind, name in BUDGETS.items() if shares[_key(name)] is not None]
    names = [BUDGETS[kind] for kind in given] + (["--plan"] if plan_file is not None else [])
    if len(names) != 1:
        problem = f"{' and '.join(names)} are given" if names else "no budget is given"
        known = ", ".join([*BUDGETS.values(), "--plan"])
        raise UsageError(f"{problem}; give exactly one of {known}")
    if plan_file is not None:
        return [Budget("plan", 1.0)]
    return [Budget(given[0], share) for share in shares[_key(names[0])] or ()]


def _key(option: str) -> str:
    """Return the name of an option's argument."""
    return option.removeprefix("--").replace("-", "_")


def model_file(output: Path | None) -> Path:
    """Return the file to write.

    Raises:
        UsageError: there is no name, it is not that of an ONNX file, or it is that of a device.
    """
    if output is None:
        raise UsageError("no file to write is given; give -o SMALLER.onnx, or --dry-run")
    if output.suffix != ".onnx":
        raise UsageError(
            f"an ONNX file cannot be named {output.name}; name it {output.stem or 'smaller'}.onnx"
        )
    if is_special(output) and not output.is_dir():
        raise UsageError(f"-o {output} is no regular file; give the name of a file")
    return output
