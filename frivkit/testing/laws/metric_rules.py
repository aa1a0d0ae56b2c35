"""The rules behind the laws of metrics: a change of the network or the run, and its effect.

A rule takes a case and the measurements of the case's own network, and raises LawError.
"""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from math import isfinite
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.cache import Cache
from frivkit.graph.instrument.perturb import RUN, perturbed_whole
from frivkit.measure.metric import Measurement
from frivkit.measure.study import Study
from frivkit.runtime.memory import example_bytes
from frivkit.testing.laws.compare import TOLERANCE, leaves, paired, same, same_but_for_drawing
from frivkit.testing.laws.metric_case import CaseMeasurements, MetricCase
from frivkit.testing.networks import EXAMPLES, LabelledNetwork, TinyNetwork, tiny

BATCH = 7
"""Examples that fit into a small memory bound; the last batch of ``EXAMPLES`` has fewer."""
SELECTORS = ("map", "location")
"""The selectors by which masks of ones are spread over tensors."""


def order(case: MetricCase, plain: CaseMeasurements) -> None:
    """Shuffle the examples and require the same values."""
    other = case.network.reordered(np.random.default_rng(1).permutation(EXAMPLES))
    same_but_for_drawing(case, plain, other, ("value", "examples"))


def parts(case: MetricCase, plain: CaseMeasurements) -> None:
    """Allow memory for few examples and require the same values and details."""
    memory = BATCH * example_bytes(case.open().model.graph)
    actual = case.again(case.open(memory=memory))
    when = f"with memory for {BATCH} of {EXAMPLES} examples"
    same(case, plain, actual, fields=("value", "examples", "detail"), when=when)


def permutation(case: MetricCase, plain: CaseMeasurements) -> None:
    """Put all hidden units in another order and require the same values in the new order."""
    weights = _weights(case)
    generator = np.random.default_rng(1)
    orders = {name: generator.permutation(weights.units(name)) for name in weights.hidden}
    for name, order in orders.items():
        weights = weights.rewired(name, order.tolist())

    def expect(before: Measurement, after: Measurement) -> Measurement:
        columns = before.detail.get("per_unit")
        if before.layer not in orders or columns is None:
            return before
        beside = after.detail.get("per_unit", {})
        order = orders[before.layer]
        moved = {name: _moved(column, order, beside.get(name)) for name, column in columns.items()}
        return replace(before, detail={**before.detail, "per_unit": moved})

    other = case.network.instead("permuted", weights)
    same_but_for_drawing(case, plain, other, ("value", "interval", "examples", "detail"), expect)


def _moved(column: list[Any], order: NDArray[np.int64], actual: object) -> list[Any]:
    """Return a column of ``per_unit`` in the new order; numbers of units may be renumbered."""
    places = np.arange(len(column)).reshape(len(order), -1)[order].ravel()
    moved = [column[old] for old in places]
    if all(entry is None or entry in range(len(column)) for entry in moved):
        new = {int(old): i for i, old in enumerate(places)}
        numbers = [None if entry is None else new[entry] for entry in moved]
        return numbers if numbers == actual else moved
    return moved


def dead(case: MetricCase, plain: CaseMeasurements) -> None:
    """Switch units off and require that all numbers are finite or None."""
    del plain
    for other in _with_dead_units(case.network):
        try:
            actual = case.measure(case.open(other))
        except Exception as error:  # a metric may raise anything
            raise case.broken(
                f"expected measurements of {other.name}, found {type(error).__name__}: {error}"
            ) from error
        for measurement in actual:
            for name in ("value", "interval", "detail"):
                for path, leaf in leaves(getattr(measurement, name), name):
                    if isinstance(leaf, float) and not isfinite(leaf):
                        layer = measurement.layer or "all"
                        raise case.broken(
                            f"layer {layer} of {other.name}: expected {path} to be a number or "
                            f"None, found {leaf}"
                        )


def _with_dead_units(network: LabelledNetwork) -> Iterator[LabelledNetwork]:
    """Yield the network with units that are off, or never change."""
    if network.weights is None:
        yield from (tiny(name) for name in ("dead_unit", "constant_unit"))
        return
    silent = network.weights
    for layer in network.weights.hidden:
        one = network.weights.silenced(layer, 0)
        yield network.instead(f"{layer}-unit-dead", one)
    layer = network.weights.hidden[-1]
    for unit in range(network.weights.units(layer)):
        silent = silent.silenced(layer, unit)
    yield network.instead(f"{layer}-all-dead", silent)


def mask(case: MetricCase, plain: CaseMeasurements) -> None:
    """Multiply every site by ones, as ablation does, and require the same measurements."""
    study = case.open()
    for selector in SELECTORS:
        model = _under_ones(study, selector)
        other = replace(case.network, name=f"{case.network.name}-{selector}-ones", model=model)
        actual = case.again(case.open(other))
        same(case, plain, actual, when=f"under masks of ones, spread as a {selector}")


def _under_ones(study: Study, selector: str) -> ir.Model:
    """Return the network with the masks of ablation in it, all of them ones."""
    masked = perturbed_whole(study.model, study.site_map.sites, study.model.output())
    inputs = {value.name: value for value in masked.ir.graph.inputs}
    for site in study.site_map.sites:
        (name,) = masked.added[site.name]
        reads = study.units(selector)
        ones = reads.mask(site, np.ones(reads.count(site), np.bool_))[np.newaxis]
        tensor = ir.tensor(ones.astype(np.float32), name=name.replace(RUN, "ones-"))
        value = inputs[name]
        masked.ir.graph.inputs.remove(value)
        value.name, value.const_value, value.shape = tensor.name, tensor, ir.Shape(ones.shape)
        masked.ir.graph.register_initializer(value)
    for node in masked.ir.graph:  # the engine adds things of these names too
        node.name = (node.name or "").replace(RUN, "ones-")
        for value in node.outputs:
            value.name = (value.name or "").replace(RUN, "ones-")
    return masked.ir


def file(case: MetricCase, plain: CaseMeasurements) -> None:
    """Measure: the files and the graph are what they were."""
    del plain
    folder = Path(mkdtemp(dir=case.folder))
    study = replace(case, folder=folder).open()
    before, graph = _contents(folder), _graph(study)
    case.again(study)
    after = _contents(folder)
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            now = "new" if name not in before else "changed" if name in after else "gone"
            raise case.broken(f"expected {name} as it was, found it {now}")
    if _graph(study) != graph:
        raise case.broken("expected the model in memory as it was, found it edited")


def _contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in files}


def _graph(study: Study) -> bytes:
    content: bytes = ir.to_proto(study.model.ir).SerializeToString(deterministic=True)
    return content


def seed(case: MetricCase, plain: CaseMeasurements) -> None:
    """Measure again, in one study, with a cache and with more threads; require the same."""
    study = case.open()
    same(case, plain, case.again(study), tolerance=0, when="in a second run")
    same(case, plain, case.again(study), tolerance=0, when="measured twice in one run")
    cache = Cache(Path(mkdtemp(dir=case.folder)))
    for when in ("while a cache is written", "out of the cache"):
        same(case, plain, case.again(case.open(cache=cache)), tolerance=0, when=when)
    same(case, plain, case.again(case.open(threads=2)), when="with two threads")


def copies(case: MetricCase, plain: CaseMeasurements) -> None:
    """Copy one unit, or all, with shared weights behind; require that copies are superfluous."""
    weights = _weights(case)
    for layer in weights.hidden:
        units = list(range(weights.units(layer)))
        for how, copied in (("a copy", [*units, units[-1]]), ("all copied", [*units, *units])):
            other = case.network.instead(f"{layer}-{how}", weights.rewired(layer, copied))
            actual = case.again(case.open(other))
            for before, after in paired(case, plain, actual):
                if before.layer != layer or before.value is None or after.value is None:
                    continue
                least = before.value * len(units) / len(copied)
                if how == "all copied":
                    least = max(least, 0.5)
                if after.value < least - TOLERANCE:
                    raise case.broken(
                        f"layer {layer} with {how}: expected a value of {least:.6g} or more, "
                        f"found {after.value:.6g}"
                    )


def _weights(case: MetricCase) -> TinyNetwork:
    weights = case.network.weights
    if weights is None:
        raise TypeError(f"law {case.law} needs a network whose units can be moved")
    return weights
