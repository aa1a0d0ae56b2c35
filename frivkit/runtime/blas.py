"""How many threads the linear algebra of numpy and scipy uses."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def blas_threads(threads: int | None) -> Iterator[None]:
    """Bound the threads of linear algebra while a block runs.

    Threads of BLAS wait for each other by spinning.  If other programs take a core, small products
    and factorizations then take several times as long on all cores as on one (eight times on two
    busy cores).  So half of the cores are used, unless a number is given.

    Args:
        threads: The number; None takes half of the cores, at least one.

    Example:
        >>> from threadpoolctl import threadpool_info
        >>> with blas_threads(1):
        ...     {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
        {1}
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(threads or max(1, (os.cpu_count() or 1) // 2), user_api="blas"):
        yield
