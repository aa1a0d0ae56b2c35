"""Whether a network is too wide: networks of one family, measured at several widths."""

from frivkit.advice.growth import Advice, Count, FamilyNetwork, Growth, advise
from frivkit.advice.measuring import Query

__all__ = ["Advice", "Count", "FamilyNetwork", "Growth", "Query", "advise"]
