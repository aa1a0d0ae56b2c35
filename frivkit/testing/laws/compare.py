"""Comparing measurements: number by number, or as far as what was drawn at random lets one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isclose
from typing import Any

import numpy as np

from frivkit.measure.metric import Measurement
from frivkit.testing.laws.case import Case, CaseMeasurements
from frivkit.testing.subjects import Subject

TOLERANCE = 1e-5
"""By how much, relative or absolute, a number may change with the rounding of float32 sums.

On the networks of the laws, the built-in metrics stay within 1e-6.
"""
SEEDS = range(1, 7)
"""The seeds whose mean is compared where one seed does not draw the same of both."""
REACH = 6.0
"""Standard errors by which two such means may differ."""
EVERYTHING = ("value", "interval", "examples", "detail")

Expect = Callable[[Measurement, Measurement], Measurement]


def same(
    case: Case,
    expected: CaseMeasurements,
    found: CaseMeasurements,
    *,
    fields: Sequence[str] = EVERYTHING,
    tolerance: float = TOLERANCE,
    when: str,
) -> None:
    """Hold measurements to those expected.

    Args:
        case: Where.
        expected: The measurements before.
        found: Those afterwards.
        fields: What to compare of them.
        tolerance: By how much numbers may differ; 0 takes equal ones only.
        when: What was changed, for the message.

    Raises:
        LawError: they differ.
    """
    for before, after in paired(case, expected, found):
        said = difference(before, after, fields, tolerance)
        if said:
            raise case.broken(f"{said} {when}")


def same_but_for_drawing(
    case: Case,
    plain: CaseMeasurements,
    other: Subject,
    fields: Sequence[str],
    expect: Expect = lambda before, after: before,
) -> None:
    """Hold the measurements of another subject to those expected, up to what was drawn at random.

    A metric that draws units or examples draws others after a change.  So where a measurement
    differs and does depend on the seed, its mean value over ``SEEDS`` is compared instead, and may
    differ by ``REACH`` standard errors.  Where it does not depend on the seed it has to be equal.

    Args:
        case: Where.
        plain: The measurements of the case's own subject.
        other: The subject that should give the same.
        fields: What to compare.
        expect: Gives what is expected from a measurement before and the one found.

    Raises:
        LawError: they differ by more.
    """
    found = case.again(case.open(other))
    both = paired(case, plain, found)
    said = [difference(expect(a, b), b, fields, TOLERANCE) for a, b in both]
    if not any(said):
        return
    before = [case.again(case.open(seed=seed)) for seed in SEEDS]
    after = [case.again(case.open(other, seed=seed)) for seed in SEEDS]
    for i, what in enumerate(said):
        if what is None:
            continue
        drawn = any(run[i] != plain[i] for run in before) or any(
            run[i] != found[i] for run in after
        )
        if not drawn:
            raise case.broken(what)
        unlike = _unlike([run[i].value for run in before], [run[i].value for run in after])
        if unlike:
            raise case.broken(f"{_place(plain[i])}: {unlike}")


def paired(
    case: Case, expected: CaseMeasurements, found: CaseMeasurements
) -> list[tuple[Measurement, Measurement]]:
    """Put measurements of the same things together.

    Raises:
        LawError: other things were measured, or in another order.
    """
    wanted, got = ([_place(m) for m in side] for side in (expected, found))
    if wanted != got:
        raise case.broken(f"expected measurements of {', '.join(wanted)}, found {', '.join(got)}")
    return list(zip(expected, found, strict=True))


def difference(
    expected: Measurement, found: Measurement, fields: Sequence[str], tolerance: float
) -> str | None:
    """Return where two measurements differ first, None where they do not.

    Example:
        >>> before, after = (Measurement("m", "layer", "fc", value, 9) for value in (0.5, 0.75))
        >>> difference(before, after, ["value"], 1e-5)
        'layer fc: expected value 0.5, found 0.75'
    """
    for name in fields:
        wanted = dict(leaves(getattr(expected, name), name))
        got = dict(leaves(getattr(found, name), name))
        for path in {**wanted, **got}:
            a, b = wanted.get(path, "nothing"), got.get(path, "nothing")
            if not _alike(a, b, tolerance):
                return f"{_place(expected)}: expected {path} {a}, found {b}"
    return None


def leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Return every number, text or None in nested mappings and sequences, and where it is.

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
    """Return how the means of two samples differ, if drawing does not explain it."""
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
