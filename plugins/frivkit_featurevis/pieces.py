"""Files of finished pieces: images of some units of a layer, with a digest behind them."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frivkit.digests import split_digest, warn_unchecked, with_digest
from frivkit.files import read_regular

PieceArrays = tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]
"""Images of shape (units, channels, h, w), shares of the range of the data, and the activation of
each unit before and after."""


def packed(
    images: NDArray[np.float32], before: NDArray[np.float64], after: NDArray[np.float64]
) -> bytes:
    """Return the content of a file, see :data:`PieceArrays`."""
    stream = io.BytesIO()
    np.savez_compressed(stream, images=images, before=before, after=after)
    return with_digest(stream.getvalue())


def read_piece(path: Path) -> PieceArrays:
    """Return what a file holds; warn of one without a digest.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged.
    """
    content, digest = split_digest(read_regular(path))
    if digest == "wrong":
        raise ValueError("its digest is not that of its content")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = stored["images"], stored["before"], stored["after"]
    except Exception as error:  # numpy and zipfile raise many classes at damaged files
        raise ValueError(f"it is no piece of images: {error}") from error
    if digest == "missing":
        warn_unchecked(path)
    return arrays
