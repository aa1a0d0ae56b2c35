"""The engine on dask: a cluster of this machine, or one that is there."""
