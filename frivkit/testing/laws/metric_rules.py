"""The rules of metrics: what is changed for each law, and what must come of it.

A rule takes a case and what the metric measures of the case's own subject, and raises LawError.
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
from frivkit.runtime.memory import live_bytes
from frivkit.testing.laws.case import Case, CaseMeasurements
from frivkit.testing.laws.compare import TOLERANCE, leaves, paired, same, same_but_for_drawing
from frivkit.testing.subjects import EXAMPLES, Subject, TinyNetwork, tiny

BATCH = 7
"""Examples for which a small memory bound has room; the last batch of ``EXAMPLES`` has fewer."""
SELECTORS = ("map", "location")
"""The selectors by which masks of ones are spread over tensors."""


def order(case: Case, plain: CaseMeasurements) -> None:
    """Shuffle the examples: no value changes."""
    other = case.subject.reordered(np.random.default_rng(1).permutation(EXAMPLES))
    same_but_for_drawing(case, plain, other, ("value", "examples"))


def parts(case: Case, plain: CaseMeasurements) -> None:
    """Leave memory for few examples: no value and no detail changes."""
    memory = BATCH * live_bytes(case.open().model.graph)
    found = case.again(case.open(memory=memory))
    when = f"with memory for {BATCH} of {EXAMPLES} examples"
    same(case, plain, found, fields=("value", "examples", "detail"), when=when)


def permutation(case: Case, plain: CaseMeasurements) -> None:
    """Put all hidden units in another order: values stay, columns of ``per_unit`` move."""
    network = _network(case)
    generator = np.random.default_rng(1)
    orders = {name: generator.permutation(network.units(name)) for name in network.hidden}
    for name, order in orders.items():
        network = network.rewired(name, order.tolist())

    def expect(before: Measurement, after: Measurement) -> Measurement:
        columns = before.detail.get("per_unit")
        if before.layer not in orders or columns is None:
            return before
        beside = after.detail.get("per_unit", {})
        order = orders[before.layer]
        moved = {name: _moved(column, order, beside.get(name)) for name, column in columns.items()}
        return replace(before, detail={**before.detail, "per_unit": moved})

    other = case.subject.instead("permuted", network)
    same_but_for_drawing(case, plain, other, ("value", "interval", "examples", "detail"), expect)


def _moved(column: list[Any], order: NDArray[np.int64], found: object) -> list[Any]:
    """Return a column of ``per_unit`` in the new order; numbers of units may be given anew too."""
    places = np.arange(len(column)).reshape(len(order), -1)[order].ravel()
    moved = [column[old] for old in places]
    if all(entry is None or entry in range(len(column)) for entry in moved):
        new = {int(old): i for i, old in enumerate(places)}
        numbers = [None if entry is None else new[entry] for entry in moved]
        return numbers if numbers == found else moved
    return moved


def dead(case: Case, plain: CaseMeasurements) -> None:
    """Switch units off: everything that is measured is a finite number or None."""
    del plain
    for other in _with_dead_units(case.subject):
        try:
            found = case.measure(case.open(other))
        except Exception as error:  # a metric may raise anything
            raise case.broken(
                f"expected measurements of {other.name}, found {type(error).__name__}: {error}"
            ) from error
        for measurement in found:
            for name in ("value", "interval", "detail"):
                for path, leaf in leaves(getattr(measurement, name), name):
                    if isinstance(leaf, float) and not isfinite(leaf):
                        layer = measurement.layer or "all"
                        raise case.broken(
                            f"layer {layer} of {other.name}: expected {path} to be a number or "
                            f"None, found {leaf}"
                        )


def _with_dead_units(subject: Subject) -> Iterator[Subject]:
    """Return the subject with units that are off, or never change."""
    if subject.network is None:
        yield from (tiny(name) for name in ("dead_unit", "constant_unit"))
        return
    silent = subject.network
    for layer in subject.network.hidden:
        one = subject.network.silenced(layer, 0)
        yield subject.instead(f"{layer}-unit-dead", one)
    layer = subject.network.hidden[-1]
    for unit in range(subject.network.units(layer)):
        silent = silent.silenced(layer, unit)
    yield subject.instead(f"{layer}-all-dead", silent)


def mask(case: Case, plain: CaseMeasurements) -> None:
    """Multiply every site by ones, as ablation does: nothing changes."""
    study = case.open()
    for selector in SELECTORS:
        model = _under_ones(study, selector)
        other = replace(case.subject, name=f"{case.subject.name}-{selector}-ones", model=model)
        found = case.again(case.open(other))
        same(case, plain, found, when=f"under masks of ones, spread as a {selector}")


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


def file(case: Case, plain: CaseMeasurements) -> None:
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


def seed(case: Case, plain: CaseMeasurements) -> None:
    """Measure again, in the same study, with a cache, with more threads: nothing changes."""
    study = case.open()
    same(case, plain, case.again(study), tolerance=0, when="in a second run")
    same(case, plain, case.again(study), tolerance=0, when="measured twice in one run")
    cache = Cache(Path(mkdtemp(dir=case.folder)))
    for when in ("while a cache is written", "out of the cache"):
        same(case, plain, case.again(case.open(cache=cache)), tolerance=0, when=when)
    same(case, plain, case.again(case.open(threads=2)), when="with two threads")


def copies(case: Case, plain: CaseMeasurements) -> None:
    """Copy one unit, or all, sharing what reads them: the copies count as superfluous."""
    network = _network(case)
    for layer in network.hidden:
        units = list(range(network.units(layer)))
        for how, copied in (("a copy", [*units, units[-1]]), ("all copied", [*units, *units])):
            other = case.subject.instead(f"{layer}-{how}", network.rewired(layer, copied))
            found = case.again(case.open(other))
            for before, after in paired(case, plain, found):
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


def _network(case: Case) -> TinyNetwork:
    network = case.subject.network
    if network is None:
        raise TypeError(f"law {case.law} needs a network whose units can be moved")
    return network
