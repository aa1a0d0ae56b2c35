"""Redundancy: the share of units that are linear combinations of others in their layer.

Source: Casper et al., "Frivolous Units", AAAI 2021, section 4, "Redundancy": principal components
of centred activations, a feature map being a unit and each of its positions an observation, 0.05
of the variance left unexplained; the network's value is the mean over layers.  The paper samples
50,000 positions; ``--protocol paper`` here sums over every position of every example, which takes
the time of 1.3 to 1.8 forward passes on larger networks.  ``--protocol reference`` samples as the
published code does, three times, and counts as it does.  Both counts are defined in
:mod:`frivkit.units.statistics`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.documents.details import DetailTypes
from frivkit.documents.fields import Fraction
from frivkit.errors import DataError, ModelError, UsageError
from frivkit.graph.sites.site_map import Site
from frivkit.measure.metric import Measurement, Metric
from frivkit.measure.study import Study
from frivkit.units.moments import Moments, merged
from frivkit.units.selector import UnitSelector
from frivkit.units.statistics import UNEXPLAINED
from frivkit_redundancy.details import RedundancyDetail
from frivkit_redundancy.jackknife import interval, leave_one_out
from frivkit_redundancy.sampling import sampled_moments
from frivkit_redundancy.spectrum import Spectrum, not_finite
from frivkit_redundancy.wide import wide_spectrum

LONGEST = 512
"""Components of the curve of explained variance that are reported, at most."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of redundancy.

    Attributes:
        tolerance: Share of variance that may stay unexplained, in (0, 1).
        exact: Sum in float64 throughout.
        samples: Rows drawn from each layer, over all batches (reference).
        samplings: How often they are drawn (reference).
        batch: Batch size that decides which examples are used (reference).
    """

    tolerance: float = UNEXPLAINED
    exact: bool = False
    samples: int = 50_000
    samplings: int = 3
    batch: int = 128

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for a value out of range."""
        if not 0 < self.tolerance < 1:
            raise UsageError(f"tolerance is {self.tolerance}; it must lie between 0 and 1")
        for name in ("samples", "samplings", "batch"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 1")


@dataclass(frozen=True, slots=True, eq=False)
class _LayerSpectrum:
    """The spectrum of one layer.

    Attributes:
        spectrum: Its eigenvalues.
        rows: The number of observations behind them.
        constant: The number of units that never change.
        method: ``"gram"``, ``"examples"`` or ``"randomised"``.
        without: The rank without each run of examples, empty if that is not known.
    """

    spectrum: Spectrum
    rows: int
    constant: int
    method: str = "gram"
    without: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _LayerValue:
    """The measurement of a layer, and its value without each run of examples."""

    measurement: Measurement
    without: tuple[float, ...] = ()


def measure(study: Study, options: Options) -> Iterator[Measurement]:
    """Measure the mean over layers, then each layer.

    The mean is left out if only some layers are under study.

    Raises:
        DataError: there is one example only, or too few for the reference protocol.
        ModelError: a layer's activations are not finite, or memory does not hold what is needed.
    """
    if study.examples < 2:
        raise DataError(f"redundancy compares examples and {study.data.spec} has one; give more")
    selector = study.units("map")
    by_protocol = _reference if study.protocol == "reference" else _paper
    layers = list(by_protocol(study, selector, options))
    if study.complete:
        yield _mean(study, selector, layers, options)
    yield from (layer.measurement for layer in layers)


METRIC = Metric(
    measure, Options, documented=DetailTypes(Fraction, RedundancyDetail, RedundancyDetail)
)


def _paper(study: Study, selector: UnitSelector, options: Options) -> Iterator[_LayerValue]:
    narrow = [site for site in study.sites if study.fits(selector, site)]
    moments = study.moments(selector, narrow, exact=options.exact)
    for site in study.sites:
        if site in narrow:
            layer = _from_moments(site, next(moments)[1], options)
        else:
            layer = _from_activations(study, selector, site, options)
        units = layer.spectrum.units
        rank = layer.spectrum.rank(options.tolerance)
        without = tuple(1 - other / units for other in layer.without)
        value = 1 - rank / units
        measurement = Measurement(
            metric="redundancy",
            scope="layer",
            layer=site.layer,
            value=value,
            units=selector.name,
            protocol=study.protocol,
            interval=interval(value, without),
            examples=study.examples,
            detail=_detail(layer, rank, options),
        )
        yield _LayerValue(measurement, without)


def _from_moments(site: Site, parts: Sequence[Moments], options: Options) -> _LayerSpectrum:
    whole = merged(parts)
    if not whole.finite:
        raise not_finite(site, exact=options.exact)
    return _LayerSpectrum(
        Spectrum.of(whole),
        whole.count,
        int((whole.variance == 0).sum()),
        without=tuple(Spectrum.of(other).rank(options.tolerance) for other in leave_one_out(parts)),
    )


def _from_activations(
    study: Study, selector: UnitSelector, site: Site, options: Options
) -> _LayerSpectrum:
    def passes() -> Iterator[NDArray[Any]]:
        return (rows[site.name] for _, rows in study.activations(selector, [site]))

    generator = np.random.default_rng([study.seed, 44])
    try:
        wide = wide_spectrum(passes, study.memory, options.tolerance, generator)
    except FloatingPointError as error:
        raise not_finite(site, exact=True) from error
    if wide is None:
        raise ModelError(
            f"layer {site.layer} has {selector.count(site)} units, and more components than "
            "--memory holds are needed to explain them: give more --memory, fewer --examples, "
            "or --units map"
        )
    return _LayerSpectrum(wide.spectrum, wide.rows, wide.constant, wide.method)


def _reference(study: Study, selector: UnitSelector, options: Options) -> Iterator[_LayerValue]:
    samplings = sampled_moments(study, selector, options.samples, options.samplings, options.batch)
    for site in study.sites:
        if not all(moments.finite for moments in samplings[site.name]):
            raise not_finite(site, exact=True)
        spectra = [Spectrum.of(moments) for moments in samplings[site.name]]
        units = spectra[0].units
        dropped = [spectrum.reference_dropped(options.tolerance) for spectrum in spectra]
        values = [count / units for count in dropped]
        first = samplings[site.name][0]
        layer = _LayerSpectrum(spectra[0], first.count, int((first.variance == 0).sum()))
        measurement = Measurement(
            metric="redundancy",
            scope="layer",
            layer=site.layer,
            value=float(np.mean(values)),
            units=selector.name,
            protocol="reference",
            examples=study.examples,
            detail=_detail(layer, units - dropped[0], options) | {"values": values},
        )
        yield _LayerValue(measurement)


def _detail(layer: _LayerSpectrum, rank: int, options: Options) -> dict[str, Any]:
    units = layer.spectrum.units
    detail: dict[str, Any] = {
        "tolerance": options.tolerance,
        "rank": rank,
        "units": units,
        "rows": layer.rows,
        "explained": [float(share) for share in layer.spectrum.explained[:LONGEST]],
        "method": layer.method,
        "constant_units": layer.constant,
        "fewer_rows_than_units": layer.rows <= units,
    }
    if layer.spectrum.total <= 0:
        detail["note"] = (
            "no unit varies over these examples, so no share of variance is defined; "
            "the layer can be replaced by a bias"
        )
    elif layer.rows <= units:
        detail["note"] = (
            f"{layer.rows} rows have at most {layer.rows - 1} components, whatever the network: "
            "more examples may find less redundancy"
        )
    return detail


def _mean(
    study: Study, selector: UnitSelector, layers: Sequence[_LayerValue], options: Options
) -> Measurement:
    values = [layer.measurement.value for layer in layers if layer.measurement.value is not None]
    value = float(np.mean(values))
    known = all(layer.without for layer in layers)
    together = zip(*(layer.without for layer in layers), strict=True) if known else ()
    details = [layer.measurement.detail for layer in layers]
    return Measurement(
        metric="redundancy",
        scope="network",
        layer=None,
        value=value,
        units=selector.name,
        protocol=study.protocol,
        interval=interval(value, tuple(float(np.mean(group)) for group in together)),
        examples=study.examples,
        detail={
            "tolerance": options.tolerance,
            "rank": sum(detail["rank"] for detail in details),
            "units": sum(detail["units"] for detail in details),
            "rows": sum(detail["rows"] for detail in details),
            "explained": [],
            "layers": values,
        },
    )
