"""The function ``frivkit.advise`` and its result."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Unpack

from frivkit.api import plots, tables
from frivkit.api.arguments import Arguments, PathLike, cache_of, request_of
from frivkit.api.models import ModelLike
from frivkit.api.results import Result
from frivkit.api.values import options, texts
from frivkit.data import Data
from frivkit.errors import UsageError
from frivkit.interrupts import interruptible
from frivkit.provenance import Clock
from frivkit.report import notebook
from frivkit.report.width_advice import advice_document, advice_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


class AdviceResult(Result):
    """Which width holds the units that networks use: the result of :func:`frivkit.advise`."""

    @property
    def widths(self) -> list[float]:
        """The width of each network, narrowest first, as a factor on that of the narrowest."""
        return [model["width"] for model in self.document["models"]]

    @property
    def advice(self) -> list[str]:
        """The two sentences on the width that holds the used units and on the next doubling."""
        return list(self.document["advice"])

    def gain(self, kind: str, layer: str | None = None) -> float | None:
        """Return the factor by which the units of a kind grow when the width is doubled.

        Args:
            kind: ``"prunable"`` or ``"redundant"``.
            layer: The layer, by its name in the narrowest network; None for the network.

        Returns:
            The gain; None if it is not defined, as with one width.

        Raises:
            KeyError: there is no such kind or layer.
        """
        found: float | None = self._gain(kind, layer)["value"]
        return found

    def interval(self, kind: str, layer: str | None = None) -> tuple[float, float] | None:
        """Return the 95 % interval of a gain, None if there is none; arguments as ``gain``."""
        ends = self._gain(kind, layer)["interval"]
        return None if ends is None else (ends[0], ends[1])

    def to_pandas(self) -> "pd.DataFrame":
        """Return a row for each kind, layer (None for the network) and width.

        Returns:
            Columns ``kind``, ``layer``, ``width``, ``units``, ``share``, ``low``, ``high``,
            ``number``, ``used`` and ``gain``.

        Raises:
            FrivkitError: pandas is not installed.
        """
        return tables.growth(self.document)

    def plot(self, kind: str = "redundant", *, ax: "Axes | None" = None) -> "Axes":
        """Draw the numbers of units of a kind against the width, with intervals.

        Args:
            kind: ``"prunable"`` or ``"redundant"``.
            ax: Where to draw; None makes new axes.

        Raises:
            UsageError: there is no such kind.
            FrivkitError: matplotlib is not installed.
        """
        return plots.growth(self.document, kind, ax=ax)

    def _gain(self, kind: str, layer: str | None) -> Mapping[str, Any]:
        for row in self.document["growth"]:
            if (row["kind"], row["layer"]) == (kind, layer):
                found: Mapping[str, Any] = row["gain"]
                return found
        raise KeyError(f"{kind} units of {layer or 'the network'}")

    def __repr__(self) -> str:
        return self._described("frivkit advice", self.advice)

    def __str__(self) -> str:
        return advice_text(self.document)

    def _repr_html_(self) -> str:
        return notebook.advice_fragment(self.document)


@interruptible
def advise(
    models: ModelLike | Iterable[ModelLike],
    *,
    data: Data | None = None,
    protocol: str = "reference",
    join: str | Iterable[str] = (),
    option: Mapping[str, object] | None = None,
    cache: PathLike | bool = False,
    **arguments: Unpack[Arguments],
) -> AdviceResult:
    """Return which width of a family of networks holds the units that they use.

    Args:
        models: Networks with the same layers at several widths, in any order, each in a form that
            :func:`frivkit.load` takes.  Several of one width make the interval of the gain cover
            how networks differ that are trained anew.  Of one network only its own units are known.
        data: The examples, as in :func:`frivkit.analyze`; the same for all networks.
        protocol: ``"reference"`` or ``"paper"``.
        join: Patterns for Concats whose units are one layer.
        option: Options of the metrics prunability and redundancy by name.
        cache: Where results are kept and reused: a folder, True for the usual one, or False.
        arguments: See :class:`frivkit.api.arguments.Arguments`.

    Raises:
        UsageError: there are no models, one is given twice, or an option is wrong.
        ModelError: the models are no family, or one cannot be read or run.
        DataError: the data cannot be read, do not fit, or are too few.

    Example:
        >>> import numpy as np
        >>> from torch import nn
        >>> nets = [
        ...     nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3))
        ...     for width in (8, 16)
        ... ]
        >>> x = np.random.default_rng(0).normal(size=(400, 4)).astype("float32")
        >>> advise(nets, data=x, threads=1).widths
        [1.0, 2.0]
    """
    from frivkit.advice import Query
    from frivkit.advice import advise as advise_on

    clock = Clock.start()
    several: list[ModelLike] = [*models] if isinstance(models, list | tuple) else [models]
    if not several:
        raise UsageError("models is empty; give models of one family, at several widths")
    requests = [
        request_of("advise", model, data, arguments, joined=texts("join", join), protocol=protocol)
        for model in several
    ]
    advice = advise_on(Query(requests, options(option), cache_of(cache)))
    return AdviceResult(advice_document(advice, clock))
