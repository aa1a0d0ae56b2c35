"""How many threads the linear algebra of numpy and scipy uses."""

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

BUFFERS = 64 << 20
"""Bytes that the OpenBLAS of numpy and that of scipy take for a thread, 32 MiB each."""


@contextmanager
def blas_threads(threads: int | None) -> Iterator[None]:
    """Bound the threads of linear algebra while a block runs.

    Threads of BLAS wait for each other by spinning.  If other programs take a core, small products
    and factorizations then take several times as long on all cores as on one (eight times on two
    busy cores).  So half of the cores are used, unless a number is given.

    Args:
        threads: The number; None takes half of the cores, at least one.

    Raises:
        MemoryError: there is no memory for the buffers of a thread; OpenBLAS would wait for it for
            ever.

    Example:
        >>> from threadpoolctl import threadpool_info
        >>> with blas_threads(1):
        ...     {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
        {1}
    """
    from threadpoolctl import threadpool_limits

    try:
        mmap.mmap(-1, BUFFERS).close()
    except OSError as error:
        raise MemoryError(f"linear algebra needs {BUFFERS >> 20} MiB") from error
    with threadpool_limits(threads or max(1, (os.cpu_count() or 1) // 2), user_api="blas"):
        _take_buffers()
        yield


def _take_buffers() -> None:
    """Have both OpenBLAS take the buffers that they keep, while there is known to be room.

    They take them at their first large product, when something else may have taken the room.
    """
    from scipy.linalg.blas import dgemm

    square = np.ones((256, 256))
    np.matmul(square, square)
    dgemm(1.0, square, square)
