"""In which order units of each bundle of layers can leave, and what that costs what reads them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.patches import Sums
from frivkit.compression.readings import Array, Reading, Source, slots_of
from frivkit.elimination import RIDGE, Term, eliminate_together
from frivkit.graph.groups import Groups
from frivkit.graph.marks import STAYS

LEAN = 4e-3
"""Ridge of the ranking for as many units as rows, as a share of the mean variance of a unit.

With many units and few rows others seem to explain a unit that they know nothing of.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The order in which the groups of one bundle leave.

    Attributes:
        sites: The sites of the bundle.
        order: The groups from the first to leave to the last; those that cannot are not in it.
        errors: After each has left, the squared error in what reads the bundle, as a share of the
            variance of what it meets there, summed over readers; growing.
    """

    sites: tuple[str, ...]
    order: NDArray[np.int64]
    errors: Array


def rank(
    groups: Groups,
    readings: Sequence[Reading],
    sums: Mapping[Source, Sums],
    variances: Mapping[str, float],
) -> tuple[Ranking, ...]:
    """Rank the groups of every bundle by backward elimination against what reads them.

    Each place of a patch counts alike, so the moments of units are those over all places that the
    readers see: unlike those of whole patches they are known well from few examples.

    Args:
        groups: What can leave, and what only together.
        readings: What reads units.
        sums: The moments of their rows.
        variances: The variance of what their outputs meet, by the tensor's name.
    """
    units = {id(reading): _units(reading, sums[reading.source]) for reading in readings}
    found = []
    for sites in groups.bundles:
        members = np.unique(np.concatenate([groups.of[site] for site in sites]))
        members = members[groups.free[members]]
        if not members.size:
            continue
        local = np.full(groups.count + 1, STAYS, np.intp)  # the last stands for STAYS
        local[members] = np.arange(members.size)
        terms, ridge = [], RIDGE
        for reading in readings:
            marks, covariance, readers = units[id(reading)]
            mine = local[marks]
            if (mine != STAYS).any():
                variance = variances.get(reading.meets, 0.0)
                terms.append(Term(covariance, readers, mine, 1 / variance if variance > 0 else 0.0))
                rows = sums[reading.source].whole.count
                ridge = max(ridge, LEAN * len(marks) / rows)
        done = eliminate_together(terms, ridge)
        unread = np.setdiff1d(np.arange(members.size), done.order)  # nothing misses these
        order = np.concatenate([members[unread], members[done.order]])
        errors = np.concatenate([np.zeros(unread.size), done.errors])
        found.append(Ranking(tuple(sites), order, errors))
    return tuple(found)


def _units(reading: Reading, sums: Sums) -> tuple[NDArray[np.intp], Array, Array]:
    """Give the group of each unit, the covariance of units, and what outputs make of them.

    The covariance is the mean over the columns of a unit.  The readers are a root of the matrix of
    inner products of weights, which has the same errors and no more columns than units.
    """
    marks, columns = slots_of(reading)
    whole = sums.whole.covariance
    weights = reading.matrix * reading.gain
    taps = columns.shape[1]
    covariance = np.zeros((len(marks), len(marks)))
    products = np.zeros_like(covariance)
    for tap in columns.T:
        rows = tap // reading.source.spread if sums.channels else tap
        covariance += whole[np.ix_(rows, rows)] / taps
        products += weights[tap] @ weights[tap].T
    values, vectors = np.linalg.eigh(products)
    return marks, covariance, vectors * np.sqrt(np.maximum(values, 0.0))
