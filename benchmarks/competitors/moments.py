"""Ways to sum the second moments of layers, each as work for a fresh process.

Packages that only one of them needs are imported inside it, so that memory is counted for it alone.
"""

from typing import Any

from benchmarks.measuring.fresh_process import Workload
from benchmarks.measuring.moment_task import Stopwatch, Task, eigenvalues
from benchmarks.measuring.setting import THREADS
from frivkit.units.moments import Moments, merged


def plain(**fields: Any) -> Workload:
    """Run the network over examples in memory, and discard its outputs."""
    task = Task(**fields)
    x = task.examples()

    def work() -> Stopwatch:
        watch, output = Stopwatch(), task.open_network()
        watch.start()
        for first in range(0, len(x), task.batch):
            output(x[first : first + task.batch])
        watch.finish()
        return watch

    return work, lambda watch: {"pass": watch.seconds}


def in_graph(*, exact: bool = False, **fields: Any) -> Workload:
    """Sum inside the graph with frivkit, from opening the files to the moments of every layer."""
    task, watch = Task(**fields), Stopwatch()

    def work() -> list[Moments]:
        study = task.study(watch)
        moments = study.moments(study.units("map"), exact=exact)
        return [merged(parts) for _, parts in moments]

    return work, lambda moments: _as_json(moments, watch)


def exact(**fields: Any) -> Workload:
    """Sum inside the graph with frivkit in float64."""
    return in_graph(exact=True, **fields)


def taken_out(**fields: Any) -> Workload:
    """Copy activations out of ONNX Runtime, and sum them with numpy in float64."""
    task, watch = Task(**fields), Stopwatch()

    def work() -> list[Moments]:
        study = task.study(watch)
        moments: dict[str, Moments] = {}
        for _, batch in study.activations(study.units("map")):
            for name, rows in batch.items():
                if name in moments:
                    moments[name] += Moments.of(rows, moments[name].shift)
                else:
                    moments[name] = Moments.of(rows)
        return list(moments.values())

    return work, lambda moments: _as_json(moments, watch)


def delve(**fields: Any) -> Workload:
    """Add up covariances with delve's class in torch hooks, in float64, batch by batch.

    ``SaturationTracker``, which adds hooks to convolutions and dense layers, cannot be used here:
    in delve 0.1.50 it starts a new covariance at every batch, so that it covers the last one only.
    Rows are laid out as in its hooks.
    """
    import torch
    from delve import TorchCovarianceMatrix  # type: ignore[import-untyped]  # has none

    task, watch = Task(**fields), Stopwatch()
    torch.set_num_threads(THREADS)
    net = torch.load(task.net, weights_only=False)  # written by this benchmark
    modules = [module for module in net.modules() if isinstance(module, torch.nn.ReLU)]
    modules = modules[-1:] if task.layer else modules
    x = torch.from_numpy(task.examples())

    def work() -> list[Any]:
        sums = [_add_hook(each, TorchCovarianceMatrix(device="cpu"), watch) for each in modules]
        with torch.inference_mode():
            for part in torch.split(x, task.torch_batch):
                net(part)
        return [each.fix().numpy() for each in sums]

    return work, lambda moments: {
        "arithmetic": watch.seconds,
        "values": [eigenvalues(covariance) for covariance in moments],
    }


def _add_hook(module: Any, covariance: Any, watch: Stopwatch) -> Any:
    def hook(module: Any, inputs: Any, output: Any) -> None:
        watch.start()
        rows = output if output.dim() == 2 else output.permute(1, 0, 2, 3).flatten(1).permute(1, 0)
        covariance.update(rows, False)
        watch.finish()

    module.register_forward_hook(hook)
    return covariance


def _as_json(moments: list[Moments], watch: Stopwatch) -> dict[str, Any]:
    values = [eigenvalues(moments.covariance) for moments in moments]
    return {"pass": watch.seconds, "values": values}
