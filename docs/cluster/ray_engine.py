"""Ray as an engine of frivkit."""

from concurrent.futures import Executor, Future
from typing import Any

import ray

from frivkit.plugin import ExecutorEngine


class RayExecutor(Executor):
    """Runs functions on a Ray cluster."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Run a function on some worker."""
        remote = ray.remote(max_retries=0)(fn)  # the engine counts how often a task was lost
        future: Future[Any] = remote.remote(*args, **kwargs).future()
        return future


def open_ray(text: str) -> ExecutorEngine:
    """Return an engine on the cluster at an address, or on one of this machine."""
    ray.init(address=text or None)
    return ExecutorEngine(
        RayExecutor(),
        workers=lambda: int(ray.cluster_resources().get("CPU", 1)),
        threads=1,
        lost=(ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError),
    )
