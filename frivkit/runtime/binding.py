"""Runs on another device than the CPU: what does not change between runs is uploaded once."""

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray


def unchanging(array: NDArray[Any]) -> NDArray[Any]:
    """Return a view that cannot be written to, by which :class:`BoundRuns` knows what to keep.

    Example:
        >>> unchanging(np.zeros(2)).flags.writeable
        False
    """
    view = array.view()
    view.flags.writeable = False
    return view


class BoundRuns:
    """Runs of one session whose inputs and outputs are bound to places in memory.

    An array that cannot be written to stays on the device for as long as somebody keeps the array:
    the tensors that enter a suffix are uploaded once for all masks of a batch.  Other arrays are
    uploaded for each run.  Outputs are brought back by each run.

    Args:
        session: The session of ONNX Runtime.
        device: The device of its inputs, as ONNX Runtime names it: ``"cpu"`` or ``"cuda"``.

    Attributes:
        uploads: How many arrays were put on the device to stay.
    """

    def __init__(self, session: Any, device: str) -> None:
        self._session, self._device = session, device
        self._kept: dict[int, tuple[weakref.ref[NDArray[Any]], Any]] = {}
        self._bindable = {
            value.name
            for value in session.get_outputs()
            if value.type.startswith("tensor(") and value.type != "tensor(string)"
        }
        self.uploads = 0

    def run(
        self, outputs: Sequence[str], feeds: Mapping[str, NDArray[Any]], options: Any
    ) -> list[Any]:
        """Run the session once.

        Args:
            outputs: The names of outputs; none for all.
            feeds: An array for each input.
            options: ONNX Runtime's options of a run.
        """
        names = list(outputs) or [value.name for value in self._session.get_outputs()]
        if not self._bindable.issuperset(names) or any(
            a.dtype.kind in "OSU" for a in feeds.values()
        ):
            found: list[Any] = self._session.run(names, dict(feeds), options)
            return found  # texts and sequences are on the CPU in any case
        binding = self._session.io_binding()
        for name, array in feeds.items():
            if array.flags.writeable:
                binding.bind_cpu_input(name, np.asarray(array, order="C"))
            else:
                binding.bind_ortvalue_input(name, self._uploaded(array))
        for name in names:
            binding.bind_output(name, "cpu")
        binding.synchronize_inputs()
        self._session.run_with_iobinding(binding, options)
        binding.synchronize_outputs()
        return [value.numpy() for value in binding.get_outputs()]

    def _uploaded(self, array: NDArray[Any]) -> Any:
        """Return an array on the device, where it stays until nobody has the array."""
        key = id(array)
        kept = self._kept.get(key)
        if kept is not None and kept[0]() is array:
            return kept[1]
        # A view, since a value on the CPU keeps the object that it was made from.
        view = np.asarray(array, order="C").view()
        value = ort.OrtValue.ortvalue_from_numpy(view, self._device, 0)
        # Called before the memory of the array is free, so before another one can have its id.
        reference = weakref.ref(array, lambda _: self._kept.pop(key, None))
        self._kept[key] = reference, value
        self.uploads += 1
        return value
