"""What ONNX Runtime makes of a graph: the graph that it runs, and the time of each of its nodes."""

import json
import tempfile
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.runtime.session import Device, Feeds, Session

FloatArray = NDArray[np.float64]
KERNEL = "_kernel_time"
"""What ONNX Runtime appends to the name of a node for the time of its kernel."""


def optimized_graph(model: ir.Model, device: Device) -> ir.Model:
    """Return a graph as ONNX Runtime has optimised it for this machine, its weights reordered.

    Raises:
        ModelError: ONNX Runtime cannot load the graph.
        DeviceError: the device is not there.
    """
    with tempfile.TemporaryDirectory(prefix="frivkit-") as folder:
        path = Path(folder) / "optimized.onnx"
        Session(model, device, optimized_to=path)
        optimized = ir.load(path)
        for value in optimized.graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor):  # its file goes with the folder
                value.const_value = ir.tensor(tensor.numpy().copy(), name=value.name)
        return optimized


class ProfiledSession:
    """A graph, ready to run, that keeps the time of each node of its optimised graph.

    Args:
        model: The graph.
        device: Where it runs.

    Raises:
        ModelError: ONNX Runtime cannot load the graph.
        DeviceError: the device is not there.
    """

    def __init__(self, model: ir.Model, device: Device) -> None:
        self._outputs = [value.name or "" for value in model.graph.outputs]
        self._runs = 0
        with tempfile.NamedTemporaryFile(prefix="frivkit-") as unused:
            name = Path(unused.name)
        self._session = Session(model, device, profile_to=name)

    def run(self, feeds: Feeds) -> None:
        """Run the graph.

        Raises:
            ModelError: ONNX Runtime fails, for example for want of memory.
        """
        self._session.run(feeds, self._outputs)
        self._runs += 1

    def times(self) -> dict[str, FloatArray]:
        """Return the milliseconds of each node in each run, by its name, shape (runs,).

        No runs can follow.
        """
        path = self._session.end_profiling()
        try:
            events = json.loads(path.read_text())
        finally:
            path.unlink()
        times: dict[str, list[float]] = {}
        for event in events:
            name = event.get("name", "")
            if event.get("cat") == "Node" and name.endswith(KERNEL):
                times.setdefault(name.removesuffix(KERNEL), []).append(event["dur"] / 1000)
        return {
            name: np.reshape(each, (self._runs, -1)).sum(axis=1)  # a node of a loop runs often
            for name, each in times.items()
            if len(each) % self._runs == 0
        }
