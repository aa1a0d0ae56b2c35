"""The entropy of a network's labels."""

from collections.abc import Iterable

import numpy as np

from frivkit.plugin import Measurement, Metric, NoOptions, Study


def measure(study: Study, options: NoOptions) -> Iterable[Measurement]:
    """Return the Shannon entropy of the labels: 0 bits if all are equal, log2(classes) at most."""
    _, counts = np.unique(study.labels(), return_counts=True)
    share = counts / counts.sum()
    bits = float((share * np.log2(1 / share)).sum())
    yield Measurement("label-entropy", "network", None, bits, study.examples)


METRIC = Metric(measure)
