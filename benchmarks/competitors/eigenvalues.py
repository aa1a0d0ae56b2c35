"""Ways to compute the eigenvalues of the covariance of one layer."""

from typing import Any

import numpy as np

from benchmarks.measuring.fresh_process import Workload
from benchmarks.measuring.moment_task import Array, Stopwatch, Task, eigenvalues
from frivkit.hooks.registry import installed
from frivkit.units.moments import merged


def redundancy(**fields: Any) -> Workload:
    """Measure redundancy with frivkit, from opening the files to the interval."""
    task, watch = Task(**fields), Stopwatch()
    metric = installed().load("metrics", "redundancy")

    def work() -> Any:
        study = task.study(watch)
        list(metric.measure(study, metric.options()))
        return study

    def tell(study: Any) -> dict[str, Any]:
        ((_, parts),) = study.moments(study.units("map"))  # computed above
        return {"values": [eigenvalues(merged(parts).covariance)]}

    return work, tell


def numpy_cov(**fields: Any) -> Workload:
    """Collect all rows, then take their covariance and its eigenvalues with numpy in float64."""

    def values(rows: Array) -> Array:
        covariance = np.cov(rows, rowvar=False, bias=True, dtype=np.float64)
        return np.linalg.eigvalsh(covariance)[::-1]

    return _collect(values, fields)


def pca(**fields: Any) -> Workload:
    """Collect all rows, then fit scikit-learn's PCA."""
    from sklearn.decomposition import PCA

    def values(rows: Array) -> Array:
        return _population(PCA().fit(rows).explained_variance_, len(rows))

    return _collect(values, fields)


def incremental_pca(**fields: Any) -> Workload:
    """Fit scikit-learn's IncrementalPCA to each batch in turn, so that no rows are stored.

    Batches of the run are much larger than its default, five times the number of units, and faster.
    """
    from sklearn.decomposition import IncrementalPCA

    task, watch = Task(**fields), Stopwatch()
    x = task.examples()

    def work() -> Array:
        estimator, output = IncrementalPCA(), task.open_network()
        for first in range(0, len(x), task.batch):
            rows = _rows(output(x[first : first + task.batch]))
            watch.start()
            estimator.partial_fit(rows)
            watch.finish()
        return _population(estimator.explained_variance_, int(estimator.n_samples_seen_))

    return work, lambda spectrum: {"arithmetic": watch.seconds, "values": [spectrum.tolist()]}


def _collect(values: Any, fields: dict[str, Any]) -> Workload:
    """Return work that copies activations into one array, and computes a spectrum from it."""
    task, watch = Task(**fields), Stopwatch()
    x = task.examples()

    def work() -> Array:
        output, rows = task.open_network(), np.empty((0, 0))
        for first in range(0, len(x), task.batch):
            part = _rows(output(x[first : first + task.batch]))
            if not first:
                positions = len(part) // min(task.batch, len(x))
                rows = np.empty((len(x) * positions, part.shape[1]), part.dtype)
            rows[first * positions : first * positions + len(part)] = part
        watch.start()
        spectrum: Array = values(rows)
        watch.finish()
        return spectrum

    return work, lambda spectrum: {"arithmetic": watch.seconds, "values": [spectrum.tolist()]}


def _rows(activations: Array) -> Array:
    """Return activations with units as columns, without a copy if possible."""
    return np.moveaxis(activations, 1, -1).reshape(-1, activations.shape[1])


def _population(values: Array, rows: int) -> Array:
    """Return variances divided by rows, from those divided by rows - 1."""
    result: Array = np.asarray(values, np.float64) * ((rows - 1) / rows)
    return result
