"""Ways to get the second moments of layers, each as work for a fresh process.

Whatever a side does not need is imported inside it, so that its memory is its own.
"""

from typing import Any

from benchmarks.fresh import Work
from benchmarks.setting import THREADS
from benchmarks.task import Stopwatch, Task, eigenvalues
from frivkit.units.moments import Moments, merged


def plain(**given: Any) -> Work:
    """Run the network over examples in memory and let go of what it gives."""
    task = Task(**given)
    x = task.examples()

    def work() -> Stopwatch:
        watch, output = Stopwatch(), task.opened()
        watch.start()
        for first in range(0, len(x), task.batch):
            output(x[first : first + task.batch])
        watch.finish()
        return watch

    return work, lambda watch: {"pass": watch.seconds}


def in_graph(*, exact: bool = False, **given: Any) -> Work:
    """Let frivkit sum inside the graph, from opening the files to the moments of every layer."""
    task, watch = Task(**given), Stopwatch()

    def work() -> list[Moments]:
        study = task.study(watch)
        found = study.moments(study.units("map"), exact=exact)
        return [merged(parts) for _, parts in found]

    return work, lambda found: _told(found, watch)


def exact(**given: Any) -> Work:
    """Let frivkit sum inside the graph in float64."""
    return in_graph(exact=True, **given)


def taken_out(**given: Any) -> Work:
    """Take activations out of ONNX Runtime and sum them with numpy in float64."""
    task, watch = Task(**given), Stopwatch()

    def work() -> list[Moments]:
        study = task.study(watch)
        found: dict[str, Moments] = {}
        for _, batch in study.activations(study.units("map")):
            for name, rows in batch.items():
                if name in found:
                    found[name] += Moments.of(rows, found[name].shift)
                else:
                    found[name] = Moments.of(rows)
        return list(found.values())

    return work, lambda found: _told(found, watch)


def delve(**given: Any) -> Work:
    """Add up covariances with delve's class in torch hooks, in float64, batch by batch.

    ``SaturationTracker``, which hangs hooks of its own on convolutions and dense layers, is no use
    here: in delve 0.1.50 it begins a new covariance at every batch, so that it tells of the last
    one only.  The rows are laid out as its hooks do it.
    """
    import torch
    from delve import TorchCovarianceMatrix  # type: ignore[import-untyped]  # has none

    task, watch = Task(**given), Stopwatch()
    torch.set_num_threads(THREADS)
    net = torch.load(task.net, weights_only=False)  # written by this benchmark
    taps = [module for module in net.modules() if isinstance(module, torch.nn.ReLU)]
    taps = taps[-1:] if task.layer else taps
    x = torch.from_numpy(task.examples())

    def work() -> list[Any]:
        sums = [_hooked(tap, TorchCovarianceMatrix(device="cpu"), watch) for tap in taps]
        with torch.inference_mode():
            for part in torch.split(x, task.torch_batch):
                net(part)
        return [each.fix().numpy() for each in sums]

    return work, lambda found: {
        "arithmetic": watch.seconds,
        "values": [eigenvalues(covariance) for covariance in found],
    }


def _hooked(module: Any, covariance: Any, watch: Stopwatch) -> Any:
    def hook(module: Any, inputs: Any, output: Any) -> None:
        watch.start()
        rows = output if output.dim() == 2 else output.permute(1, 0, 2, 3).flatten(1).permute(1, 0)
        covariance.update(rows, False)
        watch.finish()

    module.register_forward_hook(hook)
    return covariance


def _told(found: list[Moments], watch: Stopwatch) -> dict[str, Any]:
    values = [eigenvalues(moments.covariance) for moments in found]
    return {"pass": watch.seconds, "values": values}
