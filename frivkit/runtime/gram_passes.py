"""How many passes over the data Grams take, so that those of a pass fit into memory together."""

from collections.abc import Sequence

from frivkit.errors import ModelError
from frivkit.graph.sites.site_map import Site
from frivkit.units.selector import UnitSelector

WORKING = 4
"""Matrices as large as a Gram that merging parts and taking eigenvalues need at once."""


def gram_room(memory: int, units: int) -> int:
    """Return how many Grams of so many units fit into memory beside what working on one takes.

    Example:
        >>> gram_room(8 * 100**2 * 10, 100)
        6
    """
    return memory // (8 * units**2) - WORKING


def plan_passes(
    memory: int, sites: Sequence[Site], selector: UnitSelector, groups: int
) -> tuple[list[list[Site]], int]:
    """Share sites out, in order, among passes.

    Args:
        memory: Bytes that the Grams of a pass may take.
        sites: The sites.
        selector: How units are read.
        groups: How many parts of the data are to be kept apart.

    Returns:
        The sites of each pass, and how many parts can be kept apart.

    Raises:
        ModelError: the Gram of a site alone does not fit.
    """
    for site in sites:
        units = selector.count(site)
        if gram_room(memory, units) < 1:
            raise ModelError(
                f"layer {site.layer} has {units} units, whose second moments take "
                f"{8 * units**2 * (1 + WORKING):.2e} bytes: give a larger --memory, "
                "other layers with --layer, or --units map"
            )
    parts = min([groups, *(gram_room(memory, selector.count(site)) for site in sites)])
    passes: list[list[Site]] = []
    left = 0
    for site in sites:
        size = 8 * selector.count(site) ** 2
        if not passes or size * (parts + WORKING) > left:
            passes.append([])
            left = memory
        passes[-1].append(site)
        left -= size * parts
    return passes, parts
