"""The types of a sweep: jobs, their results, and the plan of a recipe."""

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
    """The result of a job.

    Attributes:
        rows: One a measurement, each with ``measurement``, ``value`` (a number, or None if it is
            undefined) and the keys that identify its network in the sweep.
        arrays: Values too long for a row, by name; written to an HDF5 file.
    """

    rows: Sequence[Row]
    arrays: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)


class Job(Protocol):
    """A network to train and measure, or several that are trained together.

    It is sent to another process if a sweep has several, so ``pickle`` must keep it.
    """

    @property
    def name(self) -> str:
        """Twelve hexadecimal digits of a hash of the settings."""

    @property
    def table_cell(self) -> tuple[str, str]:
        """The row and the column of the progress table in which it counts."""

    @property
    def networks(self) -> int:
        """The number of networks that it trains."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """All that decides the result, JSON types only; written with its arrays."""

    def run(self, folder: Path, threads: int, progress: Progress) -> JobResult:
        """Train and measure.

        Args:
            folder: A folder of its own for checkpoints, which an interrupted run of the same job
                may have filled; deleted when the job is done.  It may not exist yet.
            threads: Threads that may be used, at least 1.
            progress: Receives epochs.
        """


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """A recipe ready to run; the result of a planner.

    Attributes:
        title: The title of the experiment.
        figures: The figures that it has points of, such as ``("4a",)``.
        settings: The settings that all networks in one folder must share, JSON types only.
        described: The recipe in full, for ``run.json``, JSON types only.
        remaining_jobs: Called with the rows of finished jobs; returns the jobs still to be done, in
            order, and the number of networks of the plan that are done.
        points: Called with all rows; returns the rows of the figures, as many as the networks
            allow, each with ``figure``, ``panel``, ``series``, ``width``, ``trial`` and ``value``.
        check: Called before anything is written; raises a :class:`~frivkit.errors.FrivkitError` if
            something is missing, such as data.
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
    """The choices of a user for a recipe.

    Attributes:
        scale: The name of one of its scales.
        protocol: ``paper`` or ``reference``; None for the recipe's.
        data: Data specs that replace the sources of the recipe.
        part: Whether the recipe is one of several in another recipe.
    """

    scale: str = "full"
    protocol: str | None = None
    data: tuple[str, ...] = ()
    part: bool = False

    def data_for(self, source: str) -> str | None:
        """Return the data spec that replaces a source, None for the source itself.

        1. The spec whose name is the source's.
        2. Else the only spec, whatever its name; None if the recipe is part of another, since the
           spec may be for another part.

        Raises:
            UsageError: there are several specs, and none or more than one of that name.

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
"""Returns the plan of a recipe's table; the target of an offer of ``planners``.

Raises :class:`~frivkit.errors.UsageError` if the table is not valid.
"""
