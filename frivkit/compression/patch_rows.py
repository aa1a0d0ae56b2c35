"""Rows of a matrix from a tensor: the patches that a convolution reads, or single positions."""

import zlib
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.linear_consumers import ConsumerInput
from frivkit.data import Dataset

MIN_PATCHES = 24
"""Patches of an example that are read at least, if it has that many."""
ROWS_PER_COLUMN = 8
"""Rows for each column that are enough, so that no more patches of an example are read."""
ROWS_BYTES = 64 << 20
"""Bytes of rows that are processed at a time."""


def patch_rows(
    source: ConsumerInput, tensor: NDArray[Any], count: int | None, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Return rows of a tensor: patches for a convolution, single positions for other consumers.

    Args:
        source: The input of a consumer.
        tensor: Activations, the first axis over examples.
        count: How many patches of each example are drawn, at the same positions of all examples;
            None takes all.
        generator: The source of randomness.

    Returns:
        Shape (examples · patches, columns), the patches of an example consecutive.  Columns are
        ordered by channel, then by position in the patch.
    """
    if source.geometry is None:
        moved = np.moveaxis(tensor, source.axis, -1)
        positions = moved.reshape(len(moved), -1, moved.shape[-1])
        if count is not None and count < positions.shape[1]:
            positions = positions[:, generator.choice(positions.shape[1], count, replace=False)]
        return positions.reshape(-1, positions.shape[-1]).astype(np.float32, copy=False)
    geometry, rank = source.geometry, len(source.geometry.kernel)
    before, after = geometry.pads[:rank], geometry.pads[rank:]
    cropped = tuple(
        slice(max(0, -a), size - max(0, -b))
        for a, b, size in zip(before, after, tensor.shape[2:], strict=True)
    )
    padding = [(max(0, a), max(0, b)) for a, b in zip(before, after, strict=True)]
    padded = np.pad(tensor[(slice(None), slice(None), *cropped)], [(0, 0), (0, 0), *padding])
    sizes = padded.shape[2:]
    output_shape = output_sizes(source, sizes)
    total = prod(output_shape)
    chosen = np.arange(total)
    if count is not None and count < total:
        chosen = generator.choice(total, count, replace=False)
    corners = np.unravel_index(chosen, output_shape)
    offsets = np.unravel_index(np.arange(source.kernel_size), geometry.kernel)
    where = [
        corner[:, np.newaxis] * stride + offset * dilation
        for corner, stride, offset, dilation in zip(
            corners, geometry.strides, offsets, geometry.dilations, strict=True
        )
    ]
    flat = padded.reshape(*padded.shape[:2], -1)[:, :, np.ravel_multi_index(where, sizes)]
    rows = flat.transpose(0, 2, 1, 3).reshape(-1, source.columns)
    return rows.astype(np.float32, copy=False)


def output_sizes(source: ConsumerInput, padded: Sequence[int]) -> tuple[int, ...]:
    """Return the number of patches along each spatial axis of a padded tensor."""
    geometry = source.geometry
    if geometry is None:
        raise ValueError("only a convolution reads patches")
    return tuple(
        (size - dilation * (kernel - 1) - 1) // stride + 1
        for size, kernel, stride, dilation in zip(
            padded, geometry.kernel, geometry.strides, geometry.dilations, strict=True
        )
    )


def patches_per_example(source: ConsumerInput) -> int:
    """Return the number of patches, and so of rows, of one example."""
    if source.geometry is None:
        return prod(source.shape) // source.shape[source.axis - 1]
    rank = len(source.geometry.kernel)
    pads = source.geometry.pads
    padded = [size + pads[i] + pads[rank + i] for i, size in enumerate(source.shape[1:])]
    return prod(output_sizes(source, padded))


def sample_size(source: ConsumerInput, examples: int) -> int | None:
    """Return how many patches of each example are read, None for all."""
    wanted = max(MIN_PATCHES, -(-ROWS_PER_COLUMN * source.columns // examples))
    return None if wanted >= patches_per_example(source) else wanted


def row_chunks(
    source: ConsumerInput, tensor: NDArray[Any], data: Dataset, seed: int, first: int
) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Yield the rows of a batch, some examples at a time; the same data give the same rows.

    Args:
        source: The input of a consumer.
        tensor: Activations of the batch.
        data: The examples.
        seed: The seed of the patches that are drawn.
        first: The number of the batch's first example.

    Yields:
        The number of the first example, how many examples there are, and their rows.
    """
    count = sample_size(source, data.examples)
    patches = patches_per_example(source) if count is None else count
    examples = max(1, ROWS_BYTES // (4 * patches * source.columns))
    name = zlib.crc32(source.name.encode())
    for start in range(0, len(tensor), examples):
        generator = np.random.default_rng([seed, first + start, name])
        part = tensor[start : start + examples]
        yield first + start, len(part), patch_rows(source, part, count, generator)
