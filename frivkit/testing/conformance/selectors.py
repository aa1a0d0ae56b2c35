"""The rules of unit selectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.errors import FrivkitError
from frivkit.graph.sites.site_map import Site
from frivkit.testing.conformance.rules import Rules, named
from frivkit.units.moments import Moments
from frivkit.units.selector import UnitSelector

EXAMPLES = 5
"""Examples that are drawn for each site."""
CLOSE = 1e-9
"""The difference, relative or absolute, that sums of float64 may have."""


def _site(name: str, shape: tuple[int, ...], axis: int) -> Site:
    return Site(name, name, "Conv" if len(shape) > 1 else "Gemm", axis, shape, (name,), (), ())


SITES = (
    _site("dense", (6,), 1),
    _site("maps", (3, 2, 4), 1),
    _site("channels-last", (2, 4, 5), 3),
    _site("tokens", (4, 6), 2),
    _site("one-map", (1, 2, 2), 1),
)
"""Sites of a dense layer, of a convolution with its channels in front and behind, of tokens, and of
a convolution with a single map."""


def check_unit_selector(selector: UnitSelector, sites: Sequence[Site] = SITES) -> tuple[str, ...]:
    """Check that the methods of a unit selector agree with each other.

    On activations that are drawn for each site:

    - ``count``: a whole number of units, at least 1.
    - ``mask``: one axis for each axis of the site's shape, boolean, and it broadcasts.  Nothing is
      masked if all units are kept.  No entry belongs to two units, each unit has one, and the mask
      of several units is made of the masks of each.
    - ``rows``: one column for each unit; the rows of one example do not depend on the others.
    - ``columns``: a column depends on the entries of its unit, and on no others.
    - ``off``: a unit whose entries are all 0 is 0 in every row.
    - ``order``: units of as many entries that change places change columns.
    - ``axes``: None, or axes whose entries are the units, with the moments that ``rows`` gives.

    Args:
        selector: The selector; it need not be registered.
        sites: The sites to try it on.  A site for which it raises a FrivkitError is passed over.

    Returns:
        The names of the sites that were checked.

    Raises:
        LawError: a rule is broken, or every site was passed over.

    Example:
        >>> from frivkit.hooks.registry import installed
        >>> check_unit_selector(installed().load("unit_selectors", "map"))
        ('dense', 'maps', 'channels-last', 'tokens', 'one-map')
    """
    rules = Rules("unit_selectors", named(selector, type(selector).__name__))
    rules.shape(selector)
    rules.require(
        isinstance(selector.name, str) and selector.name, "name", f"its name is {selector.name!r}"
    )
    checked = []
    declined: Exception | None = None
    for site in sites:
        try:
            count = selector.count(site)
        except FrivkitError as error:
            rules.one_line(error, f"site {site.name}")
            declined = error
            continue
        _check_site(rules, selector, site, count)
        checked.append(site.name)
    if not checked:
        raise rules.broken("count", f"every site is declined: {declined}") from declined
    return tuple(checked)


@dataclass(frozen=True, slots=True)
class _Trial:
    """One selector on one site."""

    rules: Rules
    selector: UnitSelector
    site: Site
    x: NDArray[Any]

    def require(self, condition: object, rule: str, reason: str) -> None:
        where = f"site {self.site.name} of shape {self.site.shape}"
        self.rules.require(condition, rule, f"{where}: {reason}")

    def mask(self, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
        mask, shape = np.asarray(self.selector.mask(self.site, keep)), self.site.shape
        self.require(mask.dtype == np.bool_, "mask", f"expected truth values, found {mask.dtype}")
        fits = mask.ndim == len(shape) and all(
            mine in (1, size) for mine, size in zip(mask.shape, shape, strict=True)
        )
        self.require(fits, "mask", f"a mask of shape {mask.shape} does not broadcast")
        return np.broadcast_to(mask, shape)

    def rows(self, x: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(self.selector.rows(self.site, x))


def _check_site(rules: Rules, selector: UnitSelector, site: Site, count: Any) -> None:
    x = np.random.default_rng(0).standard_normal((EXAMPLES, *site.shape))
    trial = _Trial(rules, selector, site, x)
    whole = isinstance(count, int | np.integer) and count >= 1
    trial.require(whole, "count", f"expected at least 1 unit, found {count!r}")
    entries = _entries_of_units(trial, int(count))
    rows = _checked_rows(trial, int(count))
    _check_columns(trial, rows, entries)
    _check_order(trial, rows, entries)
    _check_axes(trial, rows)


def _entries_of_units(trial: _Trial, count: int) -> NDArray[np.bool_]:
    """Return the entries of each unit, shape (count, *site.shape)."""
    none, every = (trial.mask(np.full(count, kept)) for kept in (False, True))
    trial.require(every.all(), "mask", "entries are masked though all units are kept")
    single = [trial.mask(np.arange(count) == unit) & ~none for unit in range(count)]
    entries: NDArray[np.bool_] = np.stack(single)
    trial.require(entries.sum(axis=0).max() <= 1, "mask", "an entry belongs to two units")
    empty = np.flatnonzero(~entries.reshape(count, -1).any(axis=1))
    trial.require(not empty.size, "mask", f"units {empty.tolist()} have no entries")
    keep = np.random.default_rng(1).integers(0, 2, count).astype(np.bool_)
    trial.require(
        (trial.mask(keep) == (none | entries[keep].any(axis=0))).all(),
        "mask",
        "the mask of several units is not made of the masks of each",
    )
    return entries


def _checked_rows(trial: _Trial, count: int) -> NDArray[Any]:
    x, rows = trial.x, trial.rows(trial.x)
    trial.require(
        rows.ndim == 2 and rows.shape[1] == count and len(rows) % len(x) == 0,
        "rows",
        f"expected {count} columns and as many rows for each of {len(x)} examples, found shape "
        f"{rows.shape}",
    )
    alone = np.concatenate([trial.rows(x[i : i + 1]) for i in range(len(x))])
    same = alone.shape == rows.shape and np.allclose(alone, rows, rtol=CLOSE, atol=CLOSE)
    trial.require(same, "rows", "the rows of an example differ with the examples beside it")
    return rows


def _check_columns(trial: _Trial, rows: NDArray[Any], entries: NDArray[np.bool_]) -> None:
    drawn = np.random.default_rng(2).standard_normal(trial.x.shape)
    for unit, mine in enumerate(entries):
        changed = trial.rows(np.where(mine, drawn, trial.x))
        differ = np.flatnonzero((changed != rows).any(axis=0)).tolist()
        reason = f"the entries that the mask gives unit {unit} change columns {differ}"
        trial.require(differ == [unit], "columns", reason)
        off = trial.rows(np.where(mine, 0.0, trial.x))[:, unit]
        trial.require(not off.any(), "off", f"unit {unit} is not 0 though its entries are")


def _check_order(trial: _Trial, rows: NDArray[Any], entries: NDArray[np.bool_]) -> None:
    """Exchange the entries of units of one size: their columns are exchanged."""
    sizes = entries.reshape(len(entries), -1).sum(axis=1)
    order = np.arange(len(entries))
    for size in np.unique(sizes):
        alike = np.flatnonzero(sizes == size)
        order[alike] = np.roll(alike, 1)
    moved = trial.x.copy()
    for unit, old in enumerate(order):
        moved[:, entries[unit]] = trial.x[:, entries[old]]
    same = np.allclose(trial.rows(moved), rows[:, order], rtol=CLOSE, atol=CLOSE)
    trial.require(same, "order", "units in another order are not columns in that order")


def _check_axes(trial: _Trial, rows: NDArray[Any]) -> None:
    shape, axes = trial.site.shape, trial.selector.axes(trial.site)
    if axes is None:
        return
    known = range(1, len(shape) + 1)
    proper = isinstance(axes, tuple) and axes and all(axis in known for axis in axes)
    trial.require(
        proper and len(set(axes)) == len(axes),
        "axes",
        f"expected None or axes from 1 to {len(shape)}, found {axes!r}",
    )
    places = tuple(axis for axis in known if axis not in axes)
    width = int(np.prod([shape[axis - 1] for axis in axes]))
    trial.require(
        width == rows.shape[1],
        "axes",
        f"axes {axes} hold {width} units, of which it counts {rows.shape[1]}",
    )
    laid_out = trial.x.transpose(0, *places, *axes).reshape(-1, width)
    by_axes, by_rows = (Moments.of(each, np.zeros(width)) for each in (laid_out, rows))
    same = by_axes.count == by_rows.count and all(
        np.allclose(a, b, rtol=CLOSE, atol=CLOSE)
        for a, b in ((by_axes.total, by_rows.total), (by_axes.gram, by_rows.gram))
    )
    trial.require(same, "axes", f"the moments over axes {axes} are not those of its rows")
