"""What this plugin offers."""

from frivkit.hooks.specs import Offer, hookimpl


@hookimpl
def engines() -> list[Offer]:
    """Offer dask."""
    return [
        Offer(
            "dask",
            "frivkit_dask.cluster:open_dask",
            "dask:N here, or dask:ADDRESS, dask:FILE of a scheduler",
        )
    ]
