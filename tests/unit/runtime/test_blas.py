"""The threads of linear algebra are bounded while a block runs, and as before behind it."""

import os
import subprocess
import sys

import pytest
from threadpoolctl import threadpool_info

from frivkit.runtime.blas import blas_threads


def threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.mark.parametrize(
    ("given", "expected"), [(1, 1), (None, max(1, (os.cpu_count() or 1) // 2))]
)
def test_threads_are_bounded_in_a_block_alone(given: int | None, expected: int) -> None:
    before = threads()
    with blas_threads(given):
        assert max(threads()) <= expected
    assert threads() == before


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space by /proc")
def test_too_little_memory_for_the_buffers_is_an_error_and_no_endless_wait():
    script = """
import resource
from pathlib import Path
import numpy, scipy.linalg, threadpoolctl
from frivkit.runtime.blas import blas_threads
held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (16 << 20),) * 2)
with blas_threads(1):
    scipy.linalg.inv(numpy.eye(500))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr.splitlines()[-1] == "MemoryError: linear algebra needs 64 MiB"
