"""Ways to run masks: frivkit, plain passes, torch hooks, captum, a session for each mask."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from benchmarks.competitors.plain_session import session
from benchmarks.measuring.mask_job import THREADS, Curves, Job, Trial, request
from benchmarks.networks.timed import Case
from frivkit.graph.sites.site_map import Site
from frivkit.measure.pipeline import analyze

Labels = NDArray[np.int64]


def frivkit(case: Case, job: Job) -> Curves:
    """Measure prunability, from opening the files to the bootstrap interval, without a cache."""
    options = {"refine": "0", "repeats": str(job.repeats), "levels": str(job.levels)}
    analysis = analyze(request(case.model, case.data, job.units), options=options)
    return {
        (measurement.layer or "network", repeat, level): share
        for measurement in analysis.measurements
        for repeat, shares in enumerate(measurement.detail["unchanged"])
        for level, share in enumerate(shares)
    }


def plain(case: Case, passes: int, batch: int) -> None:
    """Run the unchanged model over the examples, which are in memory."""
    opened = session(case.model.read_bytes(), THREADS)
    for _ in range(passes):
        _labels(opened, case, batch)


def session_for_each_mask(case: Case, job: Job, batch: int) -> Curves:
    """Write every mask into a model of its own and load that.

    If each unit is a row of the layer's weights, that row is set to zero; if units are positions, a
    product with a constant is inserted behind the nonlinearity.
    """
    model = onnx.load(case.model)
    sites = {site.layer: site for site in job.sites}

    def labels(trial: Trial) -> Labels:
        masked = onnx.ModelProto()
        masked.CopyFrom(model)
        for layer, keep in trial.keep.items():
            _write_mask(masked, sites[layer], keep)
        return _labels(session(masked.SerializeToString(), THREADS), case, batch)

    baseline = _labels(session(case.model.read_bytes(), THREADS), case, batch)
    return _curves(job.trials, baseline, labels)


def torch_hooks(case: Case, job: Job, batch: int) -> Curves:
    """Multiply by masks in torch forward hooks."""

    def labels(trial: Trial) -> Labels:
        with _hooks(case, trial):
            return torch_labels(case, batch)

    return _curves(job.trials, torch_labels(case, batch), labels)


def torch_labels(case: Case, batch: int) -> Labels:
    """Return the labels of torch's network, with the hooks that it has."""
    torch.set_num_threads(THREADS)
    with torch.inference_mode():
        parts = [case.net(part).argmax(1) for part in torch.split(torch.from_numpy(case.x), batch)]
        labels: Labels = torch.cat(parts).numpy()
    return labels


def captum(case: Case, job: Job, batch: int, trials: Iterable[Trial]) -> Curves:
    """Ablate the same groups of units with captum, one layer at a time.

    The forward function returns labels, so that an attribution is the change of the label.  A group
    is ablated on its own and masks overlap, so each mask takes a call: one pass up to the layer,
    one baseline, one for the group that is ablated and one for the group of all others.
    """
    from captum.attr import LayerFeatureAblation  # type: ignore[import-untyped]  # has none

    torch.set_num_threads(THREADS)

    def label(inputs: torch.Tensor) -> torch.Tensor:
        labels: torch.Tensor = case.net(inputs).argmax(1).float()
        return labels

    def changes(trial: Trial) -> Labels:
        ((layer, keep),) = trial.keep.items()
        site = next(site for site in job.sites if site.layer == layer)
        groups = torch.from_numpy(np.broadcast_to(~keep, (1, *site.shape)).astype(np.int64))
        first = tuple(int(i) for i in np.argwhere(groups.numpy()[0])[0])
        ablation = LayerFeatureAblation(label, case.net.get_submodule(case.hook_points[layer]))
        changed = [
            ablation.attribute(part, layer_mask=groups)[(slice(None), *first)]
            for part in torch.split(torch.from_numpy(case.x), batch)
        ]
        total: Labels = torch.cat(changed).numpy().astype(np.int64)
        return total

    with torch.inference_mode():
        return _curves(trials, np.zeros(len(case.x), np.int64), changes)


def captum_share(job: Job) -> tuple[list[Trial], float]:
    """Return the trials that captum is timed on, and the factor of their time for all trials.

    These are every other trial of the first repeat.  The network, several layers at once, is not
    among them, since captum ablates one layer.
    """
    possible = [trial for trial in job.trials if trial.scope != "network"]
    last = job.levels - 1
    taken = [each for each in possible if each.repeat == 0 and (last - each.level) % 2 == 0]
    return taken, len(possible) / len(taken)


def _curves(trials: Iterable[Trial], baseline: Labels, labels: Callable[[Trial], Labels]) -> Curves:
    return {
        (each.scope, each.repeat, each.level): float((labels(each) == baseline).mean())
        for each in trials
    }


def _labels(opened: ort.InferenceSession, case: Case, batch: int) -> Labels:
    parts = [
        opened.run(None, {case.input: case.x[first : first + batch]})[0].argmax(1)
        for first in range(0, len(case.x), batch)
    ]
    return np.concatenate(parts)


def _write_mask(model: onnx.ModelProto, site: Site, keep: NDArray[np.bool_]) -> None:
    producer = {name: node for node in model.graph.node for name in node.output}
    if keep.size == site.width:
        weighted = producer[producer[site.name].input[0]]
        for tensor in model.graph.initializer:
            if tensor.name in weighted.input[1:]:
                values = numpy_helper.to_array(tensor)
                rows = keep.reshape(-1, *[1] * (values.ndim - 1))
                tensor.CopyFrom(numpy_helper.from_array(values * rows, tensor.name))
        return
    constant = f"mask of {site.layer}"
    for node in model.graph.node:
        node.input[:] = [f"masked {name}" if name == site.name else name for name in node.input]
    index = list(model.graph.node).index(producer[site.name]) + 1
    product = onnx.helper.make_node("Mul", [site.name, constant], [f"masked {site.name}"])
    model.graph.node.insert(index, product)
    model.graph.initializer.append(numpy_helper.from_array(keep.astype(np.float32), constant))


@contextmanager
def _hooks(case: Case, trial: Trial) -> Iterator[None]:
    def hook(keep: torch.Tensor) -> Callable[..., torch.Tensor]:
        return lambda module, inputs, output: output * keep

    modules: dict[str, nn.Module] = dict(case.net.named_modules())
    handles = [
        modules[case.hook_points[layer]].register_forward_hook(
            hook(torch.from_numpy(keep.astype(np.float32)))
        )
        for layer, keep in trial.keep.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
