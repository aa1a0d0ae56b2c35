"""The threads of linear algebra are bounded while a block runs, and as before behind it."""

import os

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
