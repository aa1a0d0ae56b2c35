"""The function ``frivkit.compare`` and its result."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frivkit.api import plots, tables
from frivkit.api.arguments import PathLike
from frivkit.api.results import AnalysisResult, Result
from frivkit.errors import UsageError
from frivkit.interrupts import interruptible
from frivkit.provenance import Clock
from frivkit.report import notebook
from frivkit.report.comparison import (
    answers,
    check_analysis,
    comparison_document,
    comparison_text,
    read_analysis,
)
from frivkit.report.format import file_name
from frivkit.report.labels import labels_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

AnalysisLike = AnalysisResult | Mapping[str, Any] | PathLike
"""A result of :func:`frivkit.analyze`, its document, or the path of a file with one."""


class ComparisonResult(Result):
    """Analyses side by side: the result of :func:`frivkit.compare`."""

    @property
    def labels(self) -> list[str]:
        """The name of each analysis, the first being the one that others are compared with."""
        return [analysis["label"] for analysis in self.document["analyses"]]

    def difference(
        self, metric: str, layer: str | None = None, *, label: str | None = None
    ) -> tuple[float | None, tuple[float, float] | None]:
        """Return how far a value lies above that of the first analysis, and its 95 % interval.

        Args:
            metric: The metric.
            layer: The layer, by its name in the first analysis that has it; None for the network.
            label: The analysis; None for the last.

        Returns:
            The difference, None if a value is undefined, and the interval, None if there is none.

        Raises:
            KeyError: there is no such metric, layer or analysis beside the first.
        """
        others = self.labels[1:]
        name = others[-1] if label is None else label
        if name not in others:
            raise KeyError(f"{name}; there are {', '.join(others)}")
        for each in self.document["metrics"]:
            for row in each["rows"] if each["metric"] == metric else ():
                if row["layer"] == layer:
                    found = row["differences"][others.index(name)]
                    interval = found["interval"]
                    return found["value"], None if interval is None else (interval[0], interval[1])
        raise KeyError(f"{metric} of {layer or 'the network'}")

    def to_pandas(self) -> "pd.DataFrame":
        """Return a row for each metric, layer (None for the network) and analysis.

        Returns:
            Columns ``metric``, ``layer``, ``analysis``, ``value``, ``low``, ``high``,
            ``difference``, ``difference_low``, ``difference_high`` and ``verdict``; the last four
            are missing for the first analysis.

        Raises:
            FrivkitError: pandas is not installed.
        """
        return tables.comparison(self.document)

    def plot(self, metric: str | None = None, *, ax: "Axes | None" = None) -> "Axes":
        """Draw the values of the layers of all analyses with their intervals.

        Args:
            metric: The metric; None takes the first.
            ax: Where to draw; None makes new axes.

        Raises:
            UsageError: there is no such metric.
            FrivkitError: matplotlib is not installed.
        """
        return plots.comparison(self.document, metric, ax=ax)

    def __repr__(self) -> str:
        return self._described("frivkit comparison", answers(self.document))

    def __str__(self) -> str:
        return comparison_text(self.document)

    def _repr_html_(self) -> str:
        return notebook.comparison_fragment(self.document)


@interruptible
def compare(*analyses: AnalysisLike, labels: Sequence[str] | None = None) -> ComparisonResult:
    """Compare analyses of several networks with the first of them.

    Args:
        analyses: Results of :func:`frivkit.analyze`, or files that ``frivkit analyze --json``
            wrote; at least two.
        labels: A name for each; None takes the names of files, or of models.

    Raises:
        UsageError: there are fewer than two, they have no metric in common, or labels do not fit.
        DataError: a file cannot be read, or holds no analysis.

    Example:
        >>> import numpy as np
        >>> from torch import nn
        >>> x = np.random.default_rng(0).normal(size=(400, 4)).astype("float32")
        >>> from frivkit import analyze
        >>> nets = [
        ...     nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3))
        ...     for width in (8, 16)
        ... ]
        >>> found = [analyze(net, "redundancy", data=x, threads=1) for net in nets]
        >>> compare(*found, labels=["narrow", "wide"]).labels
        ['narrow', 'wide']
    """
    clock = Clock.start()
    documents, names = [], []
    for each in analyses:
        if isinstance(each, AnalysisResult):
            documents.append(each.document)
        elif isinstance(each, Mapping):
            check_analysis(each, "an argument")
            documents.append(each)
        else:
            documents.append(read_analysis(Path(each)))
            names.append(Path(each))
    if labels is None:
        paths = names if len(names) == len(documents) else [_model(d) for d in documents]
        chosen = labels_of(paths)
    else:
        chosen = [str(label) for label in labels]
        if len(chosen) != len(documents) or len(set(chosen)) < len(chosen):
            raise UsageError(
                f"labels has {len(set(chosen))} different names for {len(documents)} analyses; "
                "give one for each"
            )
    return ComparisonResult(comparison_document(documents, chosen, clock))


def _model(document: Mapping[str, Any]) -> Path:
    return Path(file_name(document["model"]["path"]))
