"""A model's file as it is, run with examples on the first axis of all arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.graph.model import Model
from frivkit.runtime.session import Feeds, Session


class FileSession:
    """The file of a model, ready to run.

    Args:
        session: The file.
        model: The model that was read from it.
    """

    def __init__(self, session: Session, model: Model) -> None:
        self._session, self._interface = session, model.interface

    def run(self, feeds: Feeds, outputs: Sequence[str]) -> list[NDArray[Any]]:
        """Return outputs for arrays by the names of inputs, examples first in both.

        Raises:
            ModelError: ONNX Runtime fails.
        """
        return self.examples_first(self._session.run(self.in_file_order(feeds), outputs), outputs)

    def run_as_it_is(self, feeds: Feeds, outputs: Sequence[str]) -> list[NDArray[Any]]:
        """Return outputs for arrays that :meth:`in_file_order` gave, in the file's order."""
        return self._session.run(feeds, outputs)

    def in_file_order(self, feeds: Feeds) -> Feeds:
        """Return the arrays as the file takes them, with the numbers that are given for inputs."""
        if self._interface is None:
            return feeds
        moved = {
            name: np.ascontiguousarray(np.moveaxis(feeds[name], 0, axis))
            for name, axis in self._interface.input_axes.items()
            if name in feeds
        }
        return {**feeds, **moved, **self._interface.given}

    def examples_first(
        self, arrays: Sequence[NDArray[Any]], outputs: Sequence[str]
    ) -> list[NDArray[Any]]:
        """Return outputs of the file with examples on their first axis."""
        axes = {} if self._interface is None else self._interface.output_axes
        return [
            np.moveaxis(array, axes[name], 0) if name in axes else array
            for name, array in zip(outputs, arrays, strict=True)
        ]
