"""Engines by their names."""

from frivkit.engines.engine import Engine
from frivkit.errors import DeviceError
from frivkit.hooks.registry import installed


def open_engine(spec: str) -> Engine:
    """Return the engine that a text names.

    Args:
        spec: ``NAME`` or ``NAME:REST``, the name being an offer of ``engines``.

    Raises:
        DeviceError: nothing offers that name.
        UsageError: the engine does not know the rest.

    Example:
        >>> list(open_engine("local").map(len, ["one", "three"]))
        [3, 5]
    """
    name, _, rest = spec.partition(":")
    offers = installed().offers("engines")
    if name not in offers:
        raise DeviceError(f"no engine is named {name!r}; there are {', '.join(offers)}")
    engine: Engine = installed().load("engines", name)(rest)
    return engine
