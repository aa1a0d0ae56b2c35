"""Comparisons of measurements: number by number, or of means if a metric draws at random."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isclose
from typing import Any

import numpy as np

from frivkit.measure.metric import Measurement
from frivkit.testing.laws.metric_case import CaseMeasurements, MetricCase
from frivkit.testing.networks import LabelledNetwork

TOLERANCE = 1e-5
"""The change of a number, relative or absolute, that the rounding of float32 sums makes.

On the networks of the laws, the built-in metrics stay within 1e-6.
"""
SEEDS = range(1, 7)
"""The seeds whose mean is compared if one seed does not draw the same for both."""
REACH = 6.0
"""The standard errors by which two such means may differ."""
EVERYTHING = ("value", "interval", "examples", "detail")

Expect = Callable[[Measurement, Measurement], Measurement]


def same(
    case: MetricCase,
    expected: CaseMeasurements,
    actual: CaseMeasurements,
    *,
    fields: Sequence[str] = EVERYTHING,
    tolerance: float = TOLERANCE,
    when: str,
) -> None:
    """Raise LawError if measurements are not those expected.

    Args:
        case: The case, for the message.
        expected: The measurements before.
        actual: The measurements afterwards.
        fields: The fields that are compared.
        tolerance: The difference that numbers may have; 0 accepts equal numbers only.
        when: The change that was made, for the message.

    Raises:
        LawError: they differ.
    """
    for before, after in paired(case, expected, actual):
        said = difference(before, after, fields, tolerance)
        if said:
            raise case.broken(f"{said} {when}")


def same_but_for_drawing(
    case: MetricCase,
    plain: CaseMeasurements,
    other: LabelledNetwork,
    fields: Sequence[str],
    expect: Expect = lambda before, after: before,
) -> None:
    """Raise LawError if another network has other measurements, apart from random draws.

    A metric that draws units or examples draws others after a change.  So if a measurement
    differs and depends on the seed, its mean value over ``SEEDS`` is compared instead, and may
    differ by ``REACH`` standard errors.  If it does not depend on the seed it must be equal.

    Args:
        case: The case.
        plain: The measurements of the case's own network.
        other: The network that should have the same measurements.
        fields: The fields that are compared.
        expect: From a measurement before and the one afterwards to the expected one.

    Raises:
        LawError: they differ by more.
    """
    actual = case.again(case.open(other))
    both = paired(case, plain, actual)
    said = [difference(expect(a, b), b, fields, TOLERANCE) for a, b in both]
    if not any(said):
        return
    before = [case.again(case.open(seed=seed)) for seed in SEEDS]
    after = [case.again(case.open(other, seed=seed)) for seed in SEEDS]
    for i, what in enumerate(said):
        if what is None:
            continue
        drawn = any(run[i] != plain[i] for run in before) or any(
            run[i] != actual[i] for run in after
        )
        if not drawn:
            raise case.broken(what)
        unlike = _unlike([run[i].value for run in before], [run[i].value for run in after])
        if unlike:
            raise case.broken(f"{_place(plain[i])}: {unlike}")


def paired(
    case: MetricCase, expected: CaseMeasurements, actual: CaseMeasurements
) -> list[tuple[Measurement, Measurement]]:
    """Return the measurements of each layer in pairs.

    Raises:
        LawError: other things were measured, or in another order.
    """
    wanted, got = ([_place(m) for m in side] for side in (expected, actual))
    if wanted != got:
        raise case.broken(f"expected measurements of {', '.join(wanted)}, found {', '.join(got)}")
    return list(zip(expected, actual, strict=True))


def difference(
    expected: Measurement, actual: Measurement, fields: Sequence[str], tolerance: float
) -> str | None:
    """Return the first difference of two measurements in words, None if there is none.

    Example:
        >>> before, after = (Measurement("m", "layer", "fc", value, 9) for value in (0.5, 0.75))
        >>> difference(before, after, ["value"], 1e-5)
        'layer fc: expected value 0.5, found 0.75'
    """
    for name in fields:
        wanted = dict(leaves(getattr(expected, name), name))
        got = dict(leaves(getattr(actual, name), name))
        for path in {**wanted, **got}:
            a, b = wanted.get(path, "nothing"), got.get(path, "nothing")
            if not _alike(a, b, tolerance):
                return f"{_place(expected)}: expected {path} {a}, found {b}"
    return None


def leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every number, text or None in nested mappings and sequences, with its path.

    Example:
        >>> list(leaves({"a": [1, None], "b": "x"}, "detail"))
        [('detail.a[0]', 1), ('detail.a[1]', None), ('detail.b', 'x')]
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}")
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for i, inner in enumerate(value):
            yield from leaves(inner, f"{path}[{i}]")
    else:
        yield path, value


def _alike(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)
    return bool(a == b)


def _place(measurement: Measurement) -> str:
    return "network" if measurement.layer is None else f"layer {measurement.layer}"


def _unlike(before: Sequence[float | None], after: Sequence[float | None]) -> str | None:
    """Return the difference of the means of two samples in words, None if chance explains it."""
    known = [np.array([v for v in side if v is not None]) for side in (before, after)]
    if not all(len(side) for side in known):
        a, b = ("a value" if len(side) else "no value" for side in known)
        return None if a == b else f"expected {a}, found {b} under each of {len(before)} seeds"
    means = [float(side.mean()) for side in known]
    error = sum(float(side.var(ddof=1)) / len(side) for side in known if len(side) > 1) ** 0.5
    if abs(means[0] - means[1]) <= REACH * error + TOLERANCE:
        return None
    return (
        f"expected value {means[0]:.6g} on average over {len(before)} seeds, found {means[1]:.6g}, "
        f"which is more than {REACH:g} standard errors ({error:.2g}) away"
    )
