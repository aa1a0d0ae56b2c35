"""Selectivity: how much more units respond to one class than to all others.

For a unit with mean m over the examples of the class with the largest mean, and mean r over all
other examples, it is (m - r) / (m + r): 0 for a unit with equal means, 1 for one that responds to
a single class.

Source: the class selectivity index of Morcos et al., "On the importance of single directions for
generalization", ICLR 2018, as the published code of Casper et al., "Frivolous Units", AAAI 2021,
uses it: also as the share of units below 0.05, and as the squared difference between training and
test set, with the class of the training set.  A study has one set of examples; its first half takes
the role of the training set, its second half that of the test set.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.documents.details import DetailTypes, MeansDetail
from frivkit.documents.fields import Fraction
from frivkit.errors import UsageError
from frivkit.measure.metric import Measurement, Metric
from frivkit.measure.study import Study
from frivkit_unit_metrics.classes import ClassSums, classes_of, sums_by_class
from frivkit_unit_metrics.details import SelectivityDetail
from frivkit_unit_metrics.layers import one_a_unit, with_network

UNDEFINED = (
    "no unit has a selectivity, which takes means over classes that are not negative and not all 0"
)


@dataclass(frozen=True, slots=True)
class Options:
    """Options of selectivity.

    Attributes:
        low: Selectivity below which a unit counts as unselective, in (0, 1].
    """

    low: float = 0.05

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for a value out of range."""
        if not 0 < self.low <= 1:
            raise UsageError(f"low is {self.low}; it must lie above 0 and be at most 1")


def measure(study: Study, options: Options) -> Iterator[Measurement]:
    """Measure the mean over layers, then the mean selectivity of each layer's units.

    Units whose selectivity is undefined do not count; a layer without any other has no value.

    Raises:
        DataError: the data hold no labels, or those of one class only.
        ModelError: a layer's activations are not finite, or its sums do not fit into memory.
    """
    selector = study.units("map")
    classes = classes_of(study)
    layers = []
    for site, (first, second) in sums_by_class(study, selector, classes):
        detail = _detail(classes.labels, first, second, options.low)
        values = [value for value in detail["per_unit"]["value"] if value is not None]
        layers.append(
            Measurement(
                metric="selectivity",
                scope="layer",
                layer=site.layer,
                value=float(np.mean(values)) if values else None,
                units=selector.name,
                protocol=study.protocol,
                examples=study.examples,
                detail=detail,
            )
        )
    yield from with_network(study, layers)


METRIC = Metric(
    measure,
    Options,
    per_unit=True,
    documented=DetailTypes(Fraction | None, SelectivityDetail, MeansDetail),
)


def _detail(
    classes: NDArray[np.int64], first: ClassSums, second: ClassSums, low: float
) -> dict[str, Any]:
    """Return the detail of a layer; None for what is undefined."""
    whole = first + second
    favourites = whole.favourites()
    selectivity = np.maximum(whole.selectivity(favourites), 0.0)  # below 0 is rounding; NaN stays
    defined = np.isfinite(selectivity)
    chosen = first.favourites()
    seen, unseen = first.selectivity(chosen), second.selectivity(chosen)
    both = np.isfinite(seen) & np.isfinite(unseen)
    return {
        "units": len(selectivity),
        "rows": int(whole.rows.sum()),
        "classes": len(classes),
        "undefined_units": int((~defined).sum()),
        "low": low,
        "low_share": _mean(selectivity[defined] < low),
        "first_half": _mean(seen[both]),
        "second_half": _mean(unseen[both]),
        "generalisation": _mean((seen - unseen)[both] ** 2),
        "generalisation_units": int(both.sum()),
        **({} if defined.any() else {"note": UNDEFINED}),
        "per_unit": {
            "value": one_a_unit(selectivity, defined),
            "favourite": one_a_unit(classes[favourites], defined),
        },
    }


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if values.size else None
