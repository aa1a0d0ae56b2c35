"""``frivkit.frontier``: plans of several sizes for one model, compared, and what it returns."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from frivkit.api import plots, tables
from frivkit.api.arguments import (
    Arguments,
    PathLike,
    cache_of,
    constraints_of,
    file_path,
    method_of,
    request_of,
)
from frivkit.api.models import ModelLike
from frivkit.api.results import Result
from frivkit.api.values import above_zero, texts, whole
from frivkit.data import Data
from frivkit.errors import UsageError
from frivkit.interrupts import interruptible
from frivkit.provenance import Clock
from frivkit.report import notebook
from frivkit.report.format import file_name
from frivkit.report.frontier import AGREEMENTS, frontier_document, frontier_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from frivkit.compression.frontier import CostKind, Frontier

PLACE = "{budget}"
"""What stands for the budget of a plan in the name of its file."""


class FrontierResult(Result):
    """Plans of several sizes for one model: the result of :func:`frivkit.frontier`.

    Attributes:
        paths: The files that were written, by the share of the multiply-accumulates; empty if none
            were.
    """

    def __init__(self, document: Mapping[str, Any], found: "Frontier") -> None:
        super().__init__(document)
        self._found = found
        self.paths = {p.share: p.path for p in found.points if p.path is not None}

    @property
    def shares(self) -> list[float]:
        """The shares of the multiply-accumulates for which there is a plan, the largest first."""
        return [plan["share"] for plan in self.document["plans"]]

    def smallest(
        self,
        agreement: float,
        cost: "CostKind" = "latency",
        *,
        batch: int | None = None,
        surely: bool = True,
    ) -> float | None:
        """Return the share of the plan of least cost that agrees as often as is requested.

        Args:
            agreement: The least label agreement, in (0, 1].
            cost: What is to be small, ``"latency"`` or ``"macs"``.  By latency, only plans that
                were measured to be faster than the original count.
            batch: The batch size whose latency counts; None takes the first.
            surely: Whether the lower end of the 95 % interval must reach the agreement, or only
                the agreement that was found.

        Returns:
            The share of the multiply-accumulates that the plan was made for; None if no plan agrees
            as often.

        Raises:
            UsageError: there is no such cost, the agreement is out of range, or the batch size was
                not requested.
        """
        if cost not in ("latency", "macs"):
            raise UsageError(f"cost is {cost!r}; give 'latency' or 'macs'")
        requested = above_zero("agreement", agreement, most=1)
        if batch is not None and batch not in self._found.batches:
            known = ", ".join(map(str, self._found.batches))
            raise UsageError(f"batch {batch} was not timed; there are: {known}")
        point = self._found.smallest(requested, cost, batch=batch, surely=surely)
        return None if point is None else point.share

    def to_pandas(self) -> "pd.DataFrame":
        """Return the plans as a table.

        Returns:
            Columns ``share``, ``macs``, ``params``, ``units``, ``agreement``, ``low``, ``high``,
            for each batch size ``latency N``, ``latency N low`` and ``latency N high`` (the median
            and the quartiles of the share that is left), and ``dominated`` (by
            multiply-accumulates).

        Raises:
            FrivkitError: pandas is not installed.
        """
        return tables.plans(self.document)

    def plot(
        self,
        cost: "CostKind" = "latency",
        *,
        batch: int | None = None,
        ax: "Axes | None" = None,
        label: str | None = None,
    ) -> "Axes":
        """Draw the label agreement of the plans with its intervals against what is left of a cost.

        Args:
            cost: ``"latency"`` or ``"macs"``.
            batch: The batch size whose latency is drawn; None takes the first.
            ax: Where to draw, such as the axes of another result; None makes new axes.
            label: The name in the legend; None takes the model's file name.

        Raises:
            UsageError: there is no such cost, or the latency was not measured.
            FrivkitError: matplotlib is not installed.
        """
        return plots.frontier(self.document, cost, batch=batch, ax=ax, label=label)

    def __repr__(self) -> str:
        name = file_name(self.document["original"]["path"])
        lines = [f"{name}: {len(self.shares)} plans"]
        for plan in self.document["plans"]:
            low, high = plan["agreement"]["interval"]
            times = [
                f"{each['ratio'][1]:.3f} of the time at batch {batch}"
                for batch, each in plan["latency"].items()
                if each is not None
            ]
            agreement = f"agreement {plan['agreement']['labels']:.3f} ({low:.3f} to {high:.3f})"
            lines.append(", ".join([f"{plan['left']['macs']:.3f} of the MACs", *times, agreement]))
        return self._described("frivkit frontier", lines)

    def __str__(self) -> str:
        return frontier_text(self.document)

    def _repr_html_(self) -> str:
        return notebook.frontier_fragment(self.document)


@interruptible
def frontier(
    model: ModelLike,
    output: PathLike | None = None,
    *,
    data: Data | None = None,
    verify_data: Data | None = None,
    macs: Iterable[float] | None = None,
    agreement: float | Iterable[float] = AGREEMENTS,
    basis: str | None = None,
    ranking: str | None = None,
    refit: str | None = None,
    recover: float | None = None,
    augment: str | Iterable[str] = (),
    allocation: str | None = None,
    round_to: int | str = "auto",
    target: str | None = None,
    keep_layer: str | Iterable[str] = (),
    least: int = 1,
    ratio: Mapping[str, float] | None = None,
    time_batches: Iterable[int] = (1,),
    cache: PathLike | bool = False,
    **arguments: Unpack[Arguments],
) -> FrontierResult:
    """Compare plans of several sizes for a model, from one calibration.

    Args:
        model: A model in any form that :func:`frivkit.load` takes.
        output: The ONNX files to write, such as ``"thin-{budget}.onnx"``; None writes none.
        data: The examples to calibrate on, as in :func:`frivkit.analyze`; labels are not looked at.
        verify_data: The examples to compare labels on; None keeps one in four of ``data`` for it.
        macs: The shares of the multiply-accumulates that plans may keep; None takes ten from 0.9 to
            0.1.
        agreement: The label agreements for which the result names a plan.
        basis: An offer of ``bases``; None takes the default, as do the next three.
        ranking: An offer of ``rankings``.
        refit: An offer of ``refits``.
        recover: Minutes that gradients may take for each plan, as in :func:`frivkit.compress`.
        augment: How images may be changed meanwhile, ``"flip"`` or ``"crop"`` or both.
        allocation: ``"global"`` or ``"uniform"``.
        round_to: Widths that layers may keep, as in :func:`frivkit.compress`.
        target: The machine whose kernels count, such as ``"avx2"``; None for this one.
        keep_layer: Patterns of layers that are left whole.
        least: Units that each layer keeps at least.
        ratio: Shares of units that layers keep whatever the budget, by patterns of their names.
        time_batches: Batch sizes at which latency is measured; empty to measure none.
        cache: Where the calibration is kept and reused: a folder, True for the usual one, or False.
        arguments: See :class:`frivkit.api.arguments.Arguments`.

    Raises:
        UsageError: an argument has a value that means nothing.
        ModelError: the model cannot be read or compressed, or no plan makes it smaller.
        DataError: the data cannot be read, do not fit, or are too few.
    """
    from frivkit.compression import frontier as frontiers
    from frivkit.compression.compress import Compressor
    from frivkit.compression.latency_search import Timing

    clock = Clock.start()
    place = None if output is None else file_path("output", output)
    if place is not None and (PLACE not in place.name or place.suffix != ".onnx"):
        raise UsageError(f"output is {place.name}; give a name such as thin-{PLACE}.onnx")
    shares = None if macs is None else _several("macs", macs)
    agreements = _several("agreement", agreement)
    threads = arguments.get("threads")
    sizes = dict.fromkeys(whole("time_batches", size, 1) for size in time_batches)
    timings = [Timing(size, threads) for size in sizes]

    def file_of(share: float) -> Path | None:
        return place and place.with_name(place.name.replace(PLACE, f"{share:g}"))

    compressor = Compressor(
        request_of("frontier", model, data, arguments),
        verify_data=verify_data,
        method=method_of(basis, ranking, refit, allocation),
        constraints=constraints_of(round_to, target, keep_layer, least, ratio),
        cache=cache_of(cache),
        recover=None if recover is None else above_zero("recover", recover),
        augment=texts("augment", augment),
    )
    found = frontiers.frontier(compressor, shares, timings=timings, output=file_of)
    document = frontier_document(found, compressor.request, clock, agreements)
    return FrontierResult(document, found)


def _several(name: str, value: float | Iterable[float]) -> tuple[float, ...]:
    """Return one share or several as a tuple."""
    values = tuple(value) if isinstance(value, Iterable) else (value,)
    if not values:
        raise UsageError(f"{name} is empty; give one share or several")
    return tuple(above_zero(name, each, most=1) for each in values)
