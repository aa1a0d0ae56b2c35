"""What ONNX Runtime makes of a graph: the graph that it runs, and the time of each of its nodes."""

import json
import tempfile
from pathlib import Path
from statistics import median

import onnx_ir as ir

from frivkit.runtime.session import Device, Feeds, Session

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


def node_times(model: ir.Model, device: Device, feeds: Feeds, runs: int) -> dict[str, float]:
    """Return the time of each node of the optimised graph, by its name.

    Args:
        model: The graph.
        device: Where it runs.
        feeds: An array for each input.
        runs: How many runs are timed, after one that is not.

    Returns:
        Milliseconds, the median over runs.

    Raises:
        ModelError: ONNX Runtime cannot load or run the graph.
        DeviceError: the device is not there.
    """
    outputs = [value.name or "" for value in model.graph.outputs]
    with tempfile.TemporaryDirectory(prefix="frivkit-") as folder:
        session = Session(model, device, profile_to=Path(folder) / "profile")
        for _ in range(runs + 1):
            session.run(feeds, outputs)
        events = json.loads(session.end_profiling().read_text())
    times: dict[str, list[float]] = {}
    for event in events:
        name = event.get("name", "")
        if event.get("cat") == "Node" and name.endswith(KERNEL):
            times.setdefault(name.removesuffix(KERNEL), []).append(event["dur"] / 1000)
    return {name: median(each[1:] or each) for name, each in times.items()}
