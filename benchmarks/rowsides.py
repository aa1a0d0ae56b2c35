"""Ways to get the eigenvalues of one layer's covariance, beside those of all layers."""

from typing import Any

import numpy as np

from benchmarks.fresh import Work
from benchmarks.task import Array, Stopwatch, Task, eigenvalues
from frivkit.hooks.registry import installed
from frivkit.units.moments import merged


def redundancy(**given: Any) -> Work:
    """Let frivkit measure redundancy, from opening the files to the interval."""
    task, watch = Task(**given), Stopwatch()
    metric = installed().load("metrics", "redundancy")

    def work() -> Any:
        study = task.study(watch)
        list(metric.measure(study, metric.options()))
        return study

    def tell(study: Any) -> dict[str, Any]:
        ((_, parts),) = study.moments(study.units("map"))  # still in hand
        return {"values": [eigenvalues(merged(parts).covariance)]}

    return work, tell


def numpy_cov(**given: Any) -> Work:
    """Collect all rows, then take their covariance and its eigenvalues with numpy in float64."""

    def values(rows: Array) -> Array:
        covariance = np.cov(rows, rowvar=False, bias=True, dtype=np.float64)
        return np.linalg.eigvalsh(covariance)[::-1]

    return _collecting(values, given)


def pca(**given: Any) -> Work:
    """Collect all rows, then fit scikit-learn's PCA."""
    from sklearn.decomposition import PCA

    def values(rows: Array) -> Array:
        return _population(PCA().fit(rows).explained_variance_, len(rows))

    return _collecting(values, given)


def incremental_pca(**given: Any) -> Work:
    """Fit scikit-learn's IncrementalPCA to each batch as it comes, so that no rows are kept.

    Batches of the run are far larger than its default, five times the number of units, and faster.
    """
    from sklearn.decomposition import IncrementalPCA

    task, watch = Task(**given), Stopwatch()
    x = task.examples()

    def work() -> Array:
        fitted, output = IncrementalPCA(), task.opened()
        for first in range(0, len(x), task.batch):
            rows = _rows(output(x[first : first + task.batch]))
            watch.start()
            fitted.partial_fit(rows)
            watch.finish()
        return _population(fitted.explained_variance_, int(fitted.n_samples_seen_))

    return work, lambda found: {"arithmetic": watch.seconds, "values": [found.tolist()]}


def _collecting(values: Any, given: dict[str, Any]) -> Work:
    """Return a side that takes activations out into one array, and works on it."""
    task, watch = Task(**given), Stopwatch()
    x = task.examples()

    def work() -> Array:
        output, rows = task.opened(), np.empty((0, 0))
        for first in range(0, len(x), task.batch):
            part = _rows(output(x[first : first + task.batch]))
            if not first:
                places = len(part) // min(task.batch, len(x))
                rows = np.empty((len(x) * places, part.shape[1]), part.dtype)
            rows[first * places : first * places + len(part)] = part
        watch.start()
        found: Array = values(rows)
        watch.finish()
        return found

    return work, lambda found: {"arithmetic": watch.seconds, "values": [found.tolist()]}


def _rows(activations: Array) -> Array:
    """Lay maps out as columns, a view where that needs no copy."""
    return np.moveaxis(activations, 1, -1).reshape(-1, activations.shape[1])


def _population(values: Array, rows: int) -> Array:
    """Turn variances divided by rows - 1 into those divided by rows."""
    made: Array = np.asarray(values, np.float64) * ((rows - 1) / rows)
    return made
