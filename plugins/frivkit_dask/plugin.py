"""What this plugin offers."""

from frivkit.hooks.specs import Offer, hookimpl


@hookimpl
def engines() -> list[Offer]:
    """Offer dask."""
    return [
        Offer(
            "dask",
            "frivkit_dask.cluster:open_dask",
            "dask:N here, dask:tcp://HOST:PORT or dask:FILE of a scheduler; extra 'cluster'",
        )
    ]
