"""The words of a sweep: pieces of work, what they give, and the plan they belong to."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from frivkit.data.spec import DataSpec
from frivkit.errors import UsageError
from frivkit.progress import Progress

Row = Mapping[str, Any]
"""One line of ``results.jsonl``, JSON types only."""


@dataclass(frozen=True, slots=True)
class JobResult:
    """What a piece of work gives.

    Attributes:
        rows: One a measurement, each with ``measurement`` and ``value`` (a number, or None where it
            is undefined) and with what tells its network from all others of a sweep.
        arrays: What does not fit into a line, by name; written to an HDF5 file.
    """

    rows: Sequence[Row]
    arrays: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)


class Job(Protocol):
    """Something to train and measure: a network, or several that are trained together.

    It is sent to another process where a sweep has several, so it must survive ``pickle``.
    """

    @property
    def name(self) -> str:
        """Twelve hexadecimal digits that follow from all that decides what is found."""

    @property
    def table_cell(self) -> tuple[str, str]:
        """The row and the column of the table of progress in which it counts."""

    @property
    def networks(self) -> int:
        """How many networks it trains."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What decides what is found, JSON types only; written down with its arrays."""

    def run(self, folder: Path, threads: int, progress: Progress) -> JobResult:
        """Train and measure.

        Args:
            folder: Not there, or what an interrupted run of this work left in it to go on from;
                deleted when it is done.
            threads: How many may be used, at least 1.
            progress: Where epochs are reported.
        """


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """A recipe that is ready to be run; what a planner makes of a recipe's table.

    Attributes:
        title: What it shows.
        figures: The figures it has points of, such as ``("4a",)``.
        settings: What all networks in one folder must have in common, JSON types only.
        described: The recipe in full, for ``run.json``, JSON types only.
        remaining_jobs: Called with the rows that are there; gives the work that is left, in the
            order in which it should be done, and how many networks of the plan are there already.
        points: Called with all rows; gives the rows of the figures, as many as the networks allow,
            each with ``figure``, ``panel``, ``series``, ``width``, ``trial`` and ``value``.
        check: Called before anything is written; raises a :class:`~frivkit.errors.FrivkitError`
            where something is missing, such as data.
    """

    title: str
    figures: tuple[str, ...]
    settings: Mapping[str, Any]
    described: Mapping[str, Any]
    remaining_jobs: Callable[[Sequence[Row]], tuple[Sequence[Job], int]]
    points: Callable[[Iterable[Row]], Sequence[Row]]
    check: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class SweepRequest:
    """What a user asks of a recipe.

    Attributes:
        scale: Which of its scales.
        protocol: ``paper`` or ``reference``, in place of the recipe's; None for that.
        data: Data specs, in place of the sources that the recipe names.
        part: Whether the recipe is one of several that another one is made of.
    """

    scale: str = "full"
    protocol: str | None = None
    data: tuple[str, ...] = ()
    part: bool = False

    def data_for(self, source: str) -> str | None:
        """Return the data spec that takes the place of a source; None for the source itself.

        A spec of the source's own name does; else the only one does, whatever its name.  Of a
        recipe that is part of another, others may read that one.

        Raises:
            UsageError: there are several, and not one of that name.

        Example:
            >>> SweepRequest(data=("cifar10:a", "imagenet:b")).data_for("imagenet")
            'imagenet:b'
            >>> SweepRequest(data=("npz:a.npz",)).data_for("cifar10")
            'npz:a.npz'
            >>> SweepRequest(data=("cifar10:a",), part=True).data_for("imagenet") is None
            True
        """
        named = [spec for spec in self.data if DataSpec.parse(spec).name == source]
        if len(named) == 1:
            return named[0]
        if named or (len(self.data) > 1 and not self.part):
            raise UsageError(
                f"{len(self.data)} data specs are given, of which {len(named)} read {source}; give "
                "one that does, or one in all"
            )
        return self.data[0] if self.data and not self.part else None


ExperimentPlanner = Callable[[dict[str, Any], SweepRequest], SweepPlan]
"""Makes a plan of a recipe's table; what an offer of ``planners`` names.

Raises :class:`~frivkit.errors.UsageError` where the table is not as it must be.
"""
