"""Single numbers that a file of data holds beside its examples, for inputs without examples."""

from collections.abc import Mapping
from pathlib import Path

from frivkit.data.bare_path import read_spec
from frivkit.data.dataset import resolved
from frivkit.hooks.registry import Registry


def stored_scalars(data: object, registry: Registry) -> Mapping[str, float]:
    """Return the single numbers of the data by name; none where the data cannot be read.

    Whatever is wrong with the data is said when they are opened for their examples.

    Args:
        data: A data spec or a path; other forms of data have no single numbers.
        registry: Provides the sources, of which some have single numbers
            (:data:`~frivkit.data.source.SourceFactory`).
    """
    if not isinstance(data, str | Path):
        return {}
    try:
        name, spec = resolved(read_spec(data, registry), registry)
        read = getattr(registry.load("data_sources", name), "scalars", None)
        return {} if read is None else dict(read(spec))
    except Exception:  # libraries raise many classes at damaged files
        return {}
