"""Redundancy: the share of units that are linear combinations of others in their layer.

Source: Casper et al., "Frivolous Units", AAAI 2021, section 4, "Redundancy": principal components
of centred activations, a feature map being a unit and each of its places an example, 0.05 of the
variance left unexplained; the network's value is the mean over layers.  The paper samples 50,000
places; ``--protocol paper`` here sums over every place of every example, which takes the time of
1.3 to 1.8 forward passes on larger networks.  ``--protocol reference`` samples as the published
code does, three times, and counts as it does (see ``Spectrum.dropped_by_the_code``).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.errors import DataError, ModelError, UsageError
from frivkit.graph.sites.site_map import Site
from frivkit.measure.metric import Measurement, Metric
from frivkit.measure.study import Study
from frivkit.units.moments import Moments, merged
from frivkit.units.selector import UnitSelector
from frivkit_redundancy.jackknife import interval, others
from frivkit_redundancy.sampling import sampled_moments
from frivkit_redundancy.spectrum import Spectrum, infinite
from frivkit_redundancy.wide import wide_spectrum

LONGEST = 512
"""Components of the explained-variance curve that are reported."""


@dataclass(frozen=True, slots=True)
class Options:
    """How redundancy is measured.

    Attributes:
        tolerance: Share of variance that may stay unexplained, in (0, 1).
        exact: Sum in float64 throughout.
        samples: Rows that the published code samples of each layer (reference).
        samplings: How often it samples (reference).
        batch: Its batch size (reference).
    """

    tolerance: float = 0.05
    exact: bool = False
    samples: int = 50_000
    samplings: int = 3
    batch: int = 128

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        if not 0 < self.tolerance < 1:
            raise UsageError(f"tolerance is {self.tolerance}; it must lie between 0 and 1")
        for name in ("samples", "samplings", "batch"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 1")


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """What was found of one layer.

    Attributes:
        spectrum: Its eigenvalues.
        rows: How many rows they rest on.
        constant: How many units never change.
        method: ``"gram"``, ``"examples"`` or ``"randomised"``.
        without: The rank without each group of examples, empty where that is not known.
    """

    spectrum: Spectrum
    rows: int
    constant: int
    method: str = "gram"
    without: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer's measurement, and its value without each group of examples."""

    measurement: Measurement
    without: tuple[float, ...] = ()


def measure(study: Study, options: Options) -> Iterator[Measurement]:
    """Measure the mean over layers, then each layer.

    The mean is left out when only some layers are under study.
    """
    if study.examples < 2:
        raise DataError(f"redundancy compares examples and {study.data.spec} has one; give more")
    selector = study.units("map")
    by_protocol = _by_the_code if study.protocol == "reference" else _by_the_text
    layers = list(by_protocol(study, selector, options))
    if study.complete:
        yield _mean(study, selector, layers, options)
    yield from (layer.measurement for layer in layers)


METRIC = Metric(measure, Options)


def _by_the_text(study: Study, selector: UnitSelector, options: Options) -> Iterator[_Layer]:
    narrow = [site for site in study.sites if study.fits(selector, site)]
    moments = study.moments(selector, narrow, exact=options.exact)
    for site in study.sites:
        if site in narrow:
            found = _from_moments(site, next(moments)[1], options)
        else:
            found = _from_activations(study, selector, site, options)
        units = found.spectrum.units
        rank = found.spectrum.rank(options.tolerance)
        without = tuple(1 - other / units for other in found.without)
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
            detail=_detail(found, rank, options),
        )
        yield _Layer(measurement, without)


def _from_moments(site: Site, parts: Sequence[Moments], options: Options) -> _Found:
    whole = merged(parts)
    if not whole.finite:
        raise infinite(site, exact=options.exact)
    return _Found(
        Spectrum.of(whole),
        whole.count,
        int((whole.variance == 0).sum()),
        without=tuple(Spectrum.of(other).rank(options.tolerance) for other in others(parts)),
    )


def _from_activations(study: Study, selector: UnitSelector, site: Site, options: Options) -> _Found:
    def passes() -> Iterator[NDArray[Any]]:
        return (rows[site.name] for _, rows in study.activations(selector, [site]))

    generator = np.random.default_rng([study.seed, 44])
    try:
        found = wide_spectrum(passes, study.memory, options.tolerance, generator)
    except FloatingPointError as error:
        raise infinite(site, exact=True) from error
    if found is None:
        raise ModelError(
            f"layer {site.layer} has {selector.count(site)} units, and more components than "
            "--memory holds are needed to explain them: give more --memory, fewer --examples, "
            "or --units map"
        )
    return _Found(found.spectrum, found.rows, found.constant, found.method)


def _by_the_code(study: Study, selector: UnitSelector, options: Options) -> Iterator[_Layer]:
    samplings = sampled_moments(study, selector, options.samples, options.samplings, options.batch)
    for site in study.sites:
        if not all(moments.finite for moments in samplings[site.name]):
            raise infinite(site, exact=True)
        spectra = [Spectrum.of(moments) for moments in samplings[site.name]]
        units = spectra[0].units
        dropped = [spectrum.dropped_by_the_code(options.tolerance) for spectrum in spectra]
        values = [count / units for count in dropped]
        first = samplings[site.name][0]
        found = _Found(spectra[0], first.count, int((first.variance == 0).sum()))
        measurement = Measurement(
            metric="redundancy",
            scope="layer",
            layer=site.layer,
            value=float(np.mean(values)),
            units=selector.name,
            protocol="reference",
            examples=study.examples,
            detail=_detail(found, units - dropped[0], options) | {"values": values},
        )
        yield _Layer(measurement)


def _detail(found: _Found, rank: int, options: Options) -> dict[str, Any]:
    units = found.spectrum.units
    detail: dict[str, Any] = {
        "tolerance": options.tolerance,
        "rank": rank,
        "units": units,
        "rows": found.rows,
        "explained": [float(share) for share in found.spectrum.explained[:LONGEST]],
        "method": found.method,
        "constant_units": found.constant,
        "fewer_rows_than_units": found.rows <= units,
    }
    if found.spectrum.total <= 0:
        detail["note"] = (
            "no unit varies over these examples, so no share of variance is defined; "
            "the layer can be replaced by a bias"
        )
    elif found.rows <= units:
        detail["note"] = (
            f"{found.rows} rows have at most {found.rows - 1} components, whatever the network: "
            "more examples may find less redundancy"
        )
    return detail


def _mean(
    study: Study, selector: UnitSelector, layers: Sequence[_Layer], options: Options
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
