"""Metrics, bases, rankings and refits: their checks are the laws."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frivkit.compression.method import Basis, Refit
from frivkit.compression.ranking import Ranker
from frivkit.measure.metric import Metric
from frivkit.testing.conformance.rules import Rules, named
from frivkit.testing.laws import (
    COMPRESSION_LAWS,
    FOLDING_LAWS,
    METRIC_LAWS,
    RANKING_LAWS,
    CompressionLaw,
    MetricLaw,
)


def check_metric(
    metric: Metric[Any],
    folder: Path,
    options: object | None = None,
    laws: Sequence[MetricLaw] = METRIC_LAWS,
) -> tuple[str, ...]:
    """Check a metric by the laws of metrics.

    Args:
        metric: The metric; it need not be registered.
        folder: A folder for files, such as pytest's ``tmp_path``.
        options: An instance of ``metric.options``; None takes the defaults.
        laws: The laws; add ``REDUNDANCY_LAWS`` for a share of units that others can replace.

    Returns:
        The names of the laws.

    Raises:
        LawError: a law is broken.
    """
    Rules("metrics", named(metric, "metric")).shape(metric)
    for law in laws:
        law.check(metric, folder, options)
    return tuple(law.name for law in laws)


def check_basis(basis: Basis, folder: Path) -> tuple[str, ...]:
    """Check a basis by the laws of compression, with the default ranking and refit.

    Args:
        basis: The target; it need not be registered.
        folder: A folder for files.

    Returns:
        The names of the laws.

    Raises:
        LawError: a law is broken.
    """
    Rules("bases", named(basis, "basis")).shape(basis)
    return _check(COMPRESSION_LAWS, folder, basis=basis)


def check_ranking(ranking: Ranker, folder: Path, *, folds: bool = False) -> tuple[str, ...]:
    """Check a ranking by the laws of compression and of rankings.

    Args:
        ranking: The target; it need not be registered.
        folder: A folder for files.
        folds: Whether it looks at activations, so that units that never change, or that have
            copies, are removed first; its laws are ``FOLDING_LAWS``.

    Returns:
        The names of the laws.

    Raises:
        LawError: a law is broken.
    """
    Rules("rankings", named(ranking, "ranking")).shape(ranking)
    laws = (*COMPRESSION_LAWS, *RANKING_LAWS, *(FOLDING_LAWS if folds else ()))
    return _check(laws, folder, ranking=ranking)


def check_refit(refit: Refit, folder: Path, *, folds: bool = False) -> tuple[str, ...]:
    """Check a refit by the laws of compression, with the default basis and ranking.

    Args:
        refit: The target; it need not be registered.
        folder: A folder for files.
        folds: Whether it adds what removed units gave to the weights of others; its laws are
            ``FOLDING_LAWS``.

    Returns:
        The names of the laws.

    Raises:
        LawError: a law is broken.
    """
    Rules("refits", named(refit, "refit")).shape(refit)
    return _check((*COMPRESSION_LAWS, *(FOLDING_LAWS if folds else ())), folder, refit=refit)


def _check(laws: Sequence[CompressionLaw], folder: Path, **given: Any) -> tuple[str, ...]:
    for law in laws:
        law.check(folder, **given)
    return tuple(law.name for law in laws)
