"""What frivkit computes on a device, beside the CPU, within stated bounds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.networks.timed import Case, resnet20, vgg16
from frivkit.compression.budget import Budget
from frivkit.compression.compress import compress
from frivkit.compression.recovery.student import Student
from frivkit.errors import DeviceError
from frivkit.experiments.train import train
from frivkit.measure.pipeline import Request, analyze, open_study
from frivkit.runtime.execution import Execution
from frivkit.runtime.moment_pass import accumulate_moments
from frivkit.runtime.perturbed_model import BaselineModel
from frivkit.torch_io.from_onnx.weights import is_parameter
from frivkit.torch_io.network import array_of
from frivkit.torch_io.placement import exact_on, torch_device


@dataclass(frozen=True, slots=True)
class Bound:
    """A number that says how far a device is from the CPU, and the most that it may be.

    Attributes:
        what: What is compared.
        found: How far it is; NaN if it is not finite, or was not computed.
        most: The bound.
        absent: Why it was not computed, None if it was.
    """

    what: str
    found: float
    most: float
    absent: str | None = None

    @property
    def kept(self) -> bool:
        """Whether the number is within the bound, or was not computed."""
        return self.absent is not None or self.found <= self.most  # NaN is not


def bounds(folder: Path, device: str, examples: int) -> Iterator[Bound]:
    """Yield all comparisons, each network after the other.

    Args:
        folder: A folder for files.
        device: The device that is compared with the CPU.
        examples: Examples of each network.
    """
    for make in (resnet20, vgg16):
        case = make(folder, examples)
        yield from _outputs(case, device)
        yield _curves(case, device)
        yield _moments(case, device)
        yield _compressed(case, device, folder)
        yield _where_torch_can(_gradients, f"{case.name}: gradients", case, device)
    yield _where_torch_can(_trained, "weights after an epoch of training", device, folder)


def _where_torch_can(compare: Callable[..., float], what: str, *arguments: Any) -> Bound:
    """Return a comparison in torch, or why there is none."""
    what = f"{what}, relative distance"
    try:
        return Bound(what, compare(*arguments), 1e-3)
    except DeviceError as error:
        return Bound(what, nan, 1e-3, str(error))


def execution(device: str) -> Execution:
    """Return how a model is run."""
    return Execution(device=device)


def request(case: Case, device: str, **more: Any) -> Request:
    """Return the request for a network on a device, units being maps."""
    return Request(case.model, data=case.data, units="map", execution=execution(device), **more)


def _both(device: str, compute: Callable[[str], Any]) -> tuple[Any, Any]:
    return compute("cpu"), compute(device)


def _outputs(case: Case, device: str) -> Iterator[Bound]:
    def outputs(where: str) -> NDArray[Any]:
        study, _ = open_study(request(case, where))
        model = BaselineModel(study.model, study.output, execution(where).placement, 1 << 30)
        parts = [case.x[i : i + model.batch] for i in range(0, len(case.x), model.batch)]
        return np.concatenate([model.run({case.input: part}) for part in parts])

    cpu, other = _both(device, outputs)
    largest = float(np.abs(cpu).max())
    apart = float(np.abs(cpu - other).max()) / largest
    yield Bound(f"{case.name}: outputs, share of the largest", apart, 1e-4)
    best = np.sort(cpu, axis=1)
    clear = best[:, -1] - best[:, -2] > 2e-4 * largest
    changed = (cpu.argmax(axis=1) != other.argmax(axis=1)) & clear
    yield Bound(f"{case.name}: share of clear labels that differ", float(changed.mean()), 0.0)


def _curves(case: Case, device: str) -> Bound:
    def curves(where: str) -> NDArray[Any]:
        options = {"repeats": "1", "levels": "5", "refine": "0"}
        found = analyze(request(case, where), options=options)
        return np.array([one.detail["unchanged"] for one in found.measurements], float)

    cpu, other = _both(device, curves)
    apart = float(np.abs(cpu - other).max())
    return Bound(f"{case.name}: label agreement under masks, largest difference", apart, 0.02)


def _moments(case: Case, device: str) -> Bound:
    def covariances(where: str) -> list[NDArray[Any]]:
        study, _ = open_study(request(case, where))
        found = accumulate_moments(
            study.model,
            study.sites,
            study.units("map"),
            study.data,
            execution(where),
            groups=1,
            exact=False,
        )
        return [found[site.name][0].covariance for site in study.sites]

    pairs = zip(*_both(device, covariances), strict=True)
    apart = max(_distance(one, other) for one, other in pairs)
    return Bound(f"{case.name}: covariances, relative distance", apart, 1e-4)


def _compressed(case: Case, device: str, folder: Path) -> Bound:
    def agreement(where: str) -> float:
        found = compress(
            request(case, where), folder / f"{case.name}-{where}.onnx", Budget("macs", 0.6)
        )
        assert found.verification is not None  # noqa: S101  # a file was written
        return float(found.verification.comparison.agreement.share)

    cpu, other = _both(device, agreement)
    what = f"{case.name}: label agreement of the compressed network, difference"
    return Bound(what, abs(cpu - other), 0.02)


def _gradients(case: Case, device: str) -> float:
    inputs = {case.input: case.x[:8]}

    def gradients(where: str) -> NDArray[Any]:
        study, _ = open_study(request(case, where))
        student = Student(study.model, [study.sites[-1].name], inputs, where)
        with exact_on(torch_device(where)):
            student.outputs(inputs)[0].square().sum().backward()
        weights = sorted(student.parameters.items())  # whose order differs between students
        taken = [weight.grad for _, weight in weights if weight.grad is not None]
        return np.concatenate([array_of(each).ravel() for each in taken])

    return _distance(*_both(device, gradients))


def _trained(device: str, folder: Path) -> float:
    def weights(where: str) -> NDArray[Any]:
        path = folder / f"trained-{where}.onnx"
        train(
            "cnn",
            "digits",
            path,
            options={"epochs": "1"},
            trainer_options={"device": where} if where != "cpu" else {},
        )
        model = open_study(Request(path, data="digits?split=test"))[0].model
        values = model.graph.initializers.values()
        return np.concatenate([v.const_value.numpy().ravel() for v in values if is_parameter(v)])

    return _distance(*_both(device, weights))


def _distance(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.linalg.norm(one - other) / (np.linalg.norm(one) or 1.0))
