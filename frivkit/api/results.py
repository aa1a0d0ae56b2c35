"""What functions of the Python API return: documents that can be read, shown, tabulated and drawn.

Each result holds the JSON document of its command (see ``docs/reference/json.md``).
``print`` shows what the command line prints, a notebook shows the report's tables.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from frivkit.api import plots, tables
from frivkit.errors import UsageError
from frivkit.report import notebook
from frivkit.report.compression_text import compression_text
from frivkit.report.format import file_name, percent, readable
from frivkit.report.terminal import analysis_text, inspection_text
from frivkit.report.verification import verification_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from torch.fx import GraphModule


class Result:
    """A result with its document.

    Attributes:
        document: The JSON document of the command.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document

    @property
    def warnings(self) -> list[str]:
        """What a reader must know, one line each."""
        return [*self.document.get("data", {}).get("warnings", []), *self.document["warnings"]]

    def _described(self, name: str, lines: Sequence[str]) -> str:
        """Return a few lines for ``repr``."""
        shown = readable({"lines": lines, "warnings": self.warnings})
        warnings = [f"warning: {warning}" for warning in shown["warnings"]]
        return "\n".join([f"<{name}>", *(f"  {line}" for line in [*shown["lines"], *warnings])])


class AnalysisResult(Result):
    """What was measured of a model: the result of :func:`frivkit.analyze`."""

    @property
    def measurements(self) -> list[Mapping[str, Any]]:
        """Every measurement, as ``docs/reference/json.md`` describes it."""
        return list(self.document["measurements"])

    @property
    def layers(self) -> list[str]:
        """The layers under study, in the order of the network."""
        return list(self.document["provenance"]["layers"])

    def value(self, metric: str | None = None, layer: str | None = None) -> float | None:
        """Return one value.

        Args:
            metric: The metric; None if only one was measured.
            layer: The layer; None for the network.

        Returns:
            The value, None if it is undefined.

        Raises:
            KeyError: nothing was measured under that name, or ``metric`` is needed to tell.
        """
        row = self._row(metric, layer)
        value: float | None = row["value"]
        return value

    def interval(
        self, metric: str | None = None, layer: str | None = None
    ) -> tuple[float, float] | None:
        """Return the 95 % interval of one value, None if there is none; arguments as ``value``."""
        found = self._row(metric, layer)["interval"]
        return None if found is None else (found[0], found[1])

    def to_pandas(self, *, per_unit: bool = False) -> "pd.DataFrame":
        """Return the measurements as a table.

        Args:
            per_unit: Give a row to each unit of each layer, with a column for each metric that
                measures single units; else a row to each measurement.

        Returns:
            Columns ``metric``, ``scope``, ``layer``, ``units``, ``protocol``, ``value``, ``low``,
            ``high`` and ``examples``; or ``layer``, ``unit`` and the metrics.

        Raises:
            FrivkitError: pandas is not installed.
        """
        return tables.per_unit(self.document) if per_unit else tables.measurements(self.document)

    def plot(
        self, metric: str | None = None, *, ax: "Axes | None" = None, label: str | None = None
    ) -> "Axes":
        """Draw the values of the layers with their intervals.

        Args:
            metric: The metric; None takes the first that was measured.
            ax: Where to draw, such as the axes of another result; None makes new axes.
            label: The name in the legend; None takes the model's file name.

        Raises:
            FrivkitError: matplotlib is not installed.
        """
        return plots.layers(self.document, metric, ax=ax, label=label)

    def _row(self, metric: str | None, layer: str | None) -> Mapping[str, Any]:
        names = list(dict.fromkeys(row["metric"] for row in self.measurements))
        if metric is None and len(names) != 1:
            raise KeyError(f"name a metric: {', '.join(names) or 'nothing was measured'}")
        for row in self.measurements:
            if row["metric"] == (metric or names[0]) and row["layer"] == layer:
                return row
        known = ", ".join([*names, *self.layers])
        raise KeyError(f"{metric or names[0]} of {layer or 'the network'}; there are {known}")

    def __repr__(self) -> str:
        data = self.document["data"]
        lines = [f"{file_name(self.document['model']['path'])}, {data['examples']} examples"]
        for row in self.measurements:
            if row["scope"] == "network":
                interval = row["interval"]
                span = "" if interval is None else f" [{interval[0]:.4g}, {interval[1]:.4g}]"
                value = "undefined" if row["value"] is None else f"{row['value']:.4g}"
                lines.append(f"{row['metric']}: {value}{span}")
        return self._described("frivkit analysis", lines)

    def __str__(self) -> str:
        return analysis_text(self.document)

    def _repr_html_(self) -> str:
        return notebook.analysis_fragment(self.document)


class InspectionResult(Result):
    """What of a model can be analysed: the result of :func:`frivkit.inspect`."""

    @property
    def layers(self) -> list[str]:
        """The layers whose units can be measured, in the order of the network."""
        return [site["layer"] for site in self.document["sites"]]

    def to_pandas(self) -> "pd.DataFrame":
        """Return the layers: ``layer``, ``op``, ``units``, ``spatial``, ``parameters``, ``macs``.

        Raises:
            FrivkitError: pandas is not installed.
        """
        return tables.sites(self.document)

    @property
    def warnings(self) -> list[str]:
        """What to know and what to do, one line each."""
        return list(self.document.get("advice", []))

    def __repr__(self) -> str:
        model = self.document["model"]
        lines = [
            f"{file_name(model['path'])}, {model['parameters']:,} parameters",
            f"{len(self.layers)} layers with units, {len(self.document['skipped'])} nodes skipped",
        ]
        return self._described("frivkit inspection", lines)

    def __str__(self) -> str:
        return inspection_text(self.document, everything=True)

    def _repr_html_(self) -> str:
        return notebook.inspection_fragment(self.document)


class VerificationResult(Result):
    """How two models compare: the result of :func:`frivkit.verify`."""

    @property
    def agreement(self) -> float:
        """The share of labels that are the same, in [0, 1]."""
        share: float = self.document["agreement"]["labels"]
        return share

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the agreement."""
        low, high = self.document["agreement"]["interval"]
        return low, high

    def to_pandas(self) -> "pd.DataFrame":
        """Return what both models cost: a row each for parameters, MACs, bytes and latencies.

        Raises:
            FrivkitError: pandas is not installed.
        """
        return tables.costs(self.document)

    def __repr__(self) -> str:
        lines = [notebook.agreement_sentence(self.document)]
        return self._described("frivkit verification", lines)

    def __str__(self) -> str:
        return verification_text(self.document)

    def _repr_html_(self) -> str:
        return notebook.verification_fragment(self.document)


class CompressionResult(Result):
    """A compressed model and its verification: the result of :func:`frivkit.compress`.

    Attributes:
        path: The file that was written; None for a plan.
    """

    def __init__(self, document: Mapping[str, Any], path: Path | None) -> None:
        super().__init__(document)
        self.path = path

    @property
    def agreement(self) -> float | None:
        """The share of labels that are the same as the original's; None for a plan."""
        agreement = self.document["agreement"]
        return None if agreement is None else agreement["labels"]

    @cached_property
    def module(self) -> "GraphModule":
        """The compressed model as a torch module, made when it is first asked for.

        See :func:`frivkit.to_torch`, which raises the errors.

        Raises:
            UsageError: it is a plan, so that there is no file.
        """
        if self.path is None:
            raise UsageError("a plan has no module: give compress the name of an output file")
        from frivkit.api.torch_modules import to_torch

        return to_torch(self.path)

    def to_pandas(self) -> "pd.DataFrame":
        """Return the layers: ``layer``, ``units_before``, ``units_after``, ``predicted_error``.

        Raises:
            FrivkitError: pandas is not installed.
        """
        return tables.widths(self.document)

    def plot(self, *, ax: "Axes | None" = None) -> "Axes":
        """Draw the units of each layer before and after.

        Raises:
            FrivkitError: matplotlib is not installed.
        """
        return plots.widths(self.document, ax=ax)

    def __repr__(self) -> str:
        left = self.document["budget"]["left"]
        shares = ", ".join(f"{percent(share)} of the {kind}" for kind, share in left.items())
        lines = [f"{shares} left"]
        if self.path is None:
            lines.append("a plan: no file was written")
        else:
            lines = [f"{self.path}: {lines[0]}", notebook.agreement_sentence(self.document)]
        return self._described("frivkit compression", lines)

    def __str__(self) -> str:
        return compression_text(self.document)

    def _repr_html_(self) -> str:
        return notebook.compression_fragment(self.document)


class ActivationsResult(Mapping[str, NDArray[Any]]):
    """Activations by layer: the result of :func:`frivkit.activations`.

    A mapping from the names of layers to arrays (examples, ...), or (rows, units) with ``rows``.
    Arrays in a file are read when they are asked for.

    Attributes:
        path: The HDF5 file; None if the arrays are in memory.
    """

    def __init__(
        self, path: Path | None, names: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]
    ) -> None:
        self.path = path
        self._file = None if path is None else path.absolute()
        self._names, self._arrays = dict(names), dict(arrays)

    __eq__ = object.__eq__  # arrays have no one truth value
    __hash__ = object.__hash__

    def __getitem__(self, layer: str) -> NDArray[Any]:
        if layer in self._arrays:
            return self._arrays[layer]
        return tables.stored_array(self._file, self._names[layer])

    def __iter__(self) -> Any:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    @property
    def outputs(self) -> NDArray[Any]:
        """The network's outputs, shape (examples, classes, ...)."""
        return self._arrays["outputs"] if self.path is None else self._stored("outputs")

    @property
    def labels(self) -> NDArray[np.int32]:
        """The network's labels, shape (examples, positions)."""
        return self._arrays["labels"] if self.path is None else self._stored("labels")

    def _stored(self, name: str) -> NDArray[Any]:
        return tables.stored_array(self._file, name)

    def __repr__(self) -> str:
        where = "in memory" if self.path is None else f"in {self.path}"
        layers = ", ".join([*self][:4]) + (", ..." if len(self) > 4 else "")
        return f"<frivkit activations>\n  {len(self)} layers {where}: {layers}"


class TrainingResult(Result):
    """A network that was trained: the result of :func:`frivkit.train`.

    Attributes:
        path: The ONNX file.
        accuracy: The share of the test data's labels that it meets, in [0, 1].
        epochs: The passes over the training data.
        losses: The mean loss of each of them.
        parameters: Its trainable parameters.
    """

    def __init__(
        self,
        path: Path,
        accuracy: float,
        losses: Sequence[float],
        parameters: int,
        warnings: Sequence[str],
    ) -> None:
        super().__init__({"warnings": list(warnings)})
        self.path, self.accuracy, self.parameters = path, accuracy, parameters
        self.losses, self.epochs = list(losses), len(losses)

    def __repr__(self) -> str:
        lines = [
            f"{self.path}: {self.parameters:,} trainable parameters, {self.epochs} epochs",
            f"test accuracy {percent(self.accuracy)}",
        ]
        return self._described("frivkit training", lines)
