"""The budgets of ``frivkit compress``, and the files of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from frivkit.errors import UsageError

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
PLACE = "{budget}"
"""What stands for the budget in the names of files, if several budgets are given."""


@dataclass(frozen=True, slots=True)
class BudgetFiles:
    """Where the results for one budget go."""

    model: Path | None
    json: str | None
    report: Path | None
    plan: Path | None

    def for_budget(self, budget: "Budget", count: int) -> "BudgetFiles":
        """Return the files of one of several budgets, whose share stands in their names.

        Raises:
            UsageError: a name does not say where the budget goes, and there are several.
        """
        if count == 1:
            return self
        for place in filter(None, self.places):
            if PLACE not in str(place):
                raise UsageError(
                    f"{count} budgets cannot all be written to {place}; put {PLACE} into its name"
                )

        def named(place: Path | None) -> Path | None:
            return place and Path(str(place).replace(PLACE, f"{budget.share:g}"))

        json_to = self.json and self.json.replace(PLACE, f"{budget.share:g}")
        return BudgetFiles(named(self.model), json_to, named(self.report), named(self.plan))

    @property
    def places(self) -> tuple[Path | str | None, ...]:
        """All files."""
        return self.model, self.json, self.report, self.plan


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
        UsageError: there is no name, or it is not that of an ONNX file.
    """
    if output is None:
        raise UsageError("no file to write is given; give -o SMALLER.onnx, or --dry-run")
    if output.suffix != ".onnx":
        raise UsageError(
            f"an ONNX file cannot be named {output.name}; name it {output.stem or 'smaller'}.onnx"
        )
    return output
