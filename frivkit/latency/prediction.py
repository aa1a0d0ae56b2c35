"""Predict the latency of a network's narrowings from the profiles of a few of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from time import get_clock_info, perf_counter, thread_time
from typing import Self

import numpy as np
import onnx_ir as ir

from frivkit.graph.names import node_label
from frivkit.latency.fast_path import numbered, position_of
from frivkit.latency.features import NodeFeatures, node_features, other_terms
from frivkit.latency.target import this_machine
from frivkit.progress import Progress
from frivkit.runtime.optimized import FloatArray, ProfiledSession
from frivkit.runtime.session import Device, Feeds, Session

FEWEST, MOST = 4, 15
"""Runs of each variant that are profiled."""
SECONDS = 0.15
"""Seconds that as many runs of the original should take."""
WARM_UP = 3
"""Runs of the original before the first that counts."""
PRIOR_SHARES = (0.2, 0.5, 1.0, 2.0)
"""Shares of a node's mean widths at which its kind says what it would take."""
PRIOR_WEIGHT = 0.2
"""The weight of these beside a measured time."""
LEAST = 0.05
"""Share of the longest time of a node below which errors are not taken as relative."""


@dataclass(frozen=True, slots=True)
class _Profile:
    """A graph and what its nodes took.

    Attributes:
        labels: The labels of its weighted nodes, by their position.
        features: Their features.
        times: What each took at least, as a share of the original at the same time; other programs
            can only add to it.
        rest: What all other nodes took, likewise.
        terms: What their time depends on, see ``other_terms``.
        total: What a run takes that is not profiled, likewise.
    """

    labels: Mapping[int, str]
    node_features: Mapping[int, NodeFeatures]
    times: Mapping[int, float]
    rest: float
    terms: FloatArray
    total: float


@dataclass(frozen=True, slots=True)
class LatencyModel:
    """The latency of a network's narrowings, as a sum over nodes.

    Attributes:
        milliseconds: The measured median of the original.
        scale: A factor and a constant that make of a sum over nodes the share of the original's
            latency; the original's own is 1.
        nodes: For each weighted node by its label, and each signature of its features, what each
            term takes, as a share of the original.
        rest: What each of the terms of all other nodes takes, likewise.
        kinds: By the kind of node, the coefficients of nodes that the network did not have.
        block: The channels in a block of the machine's kernels.
    """

    milliseconds: float
    scale: tuple[float, float]
    nodes: Mapping[str, Mapping[str, tuple[float, ...]]]
    rest: tuple[float, ...]
    kinds: Mapping[str, tuple[float, ...]]
    block: int

    def predict(self, graph: ir.Model) -> float:
        """Return the predicted latency of a narrowing, in milliseconds.

        Nodes that the variants did not have, such as factors, are taken to be as fast as the
        network's own nodes of the same kind.

        Args:
            graph: The network with some units removed or nodes factorized, its shapes known.
        """
        weighted = node_features(graph.graph, self.block)
        total = float(other_terms(graph.graph, weighted) @ np.array(self.rest))
        nodes = list(graph.graph)
        for position, features in weighted.items():
            fitted = self.nodes.get(node_label(nodes[position]), {}).get(features.signature)
            if fitted is None:
                total += _of_kind(features, self.kinds)
            else:
                total += float(features.terms @ np.array(fitted))
        return self.milliseconds * (self.scale[0] * total + self.scale[1])

    @property
    def json(self) -> str:
        """All of it as JSON, from which :meth:`from_json` makes an equal one."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the model that was written as JSON."""
        fields = json.loads(text)
        fields["nodes"] = {label: _tuples(found) for label, found in fields["nodes"].items()}
        fields |= {name: tuple(fields[name]) for name in ("scale", "rest")}
        return cls(**fields | {"kinds": _tuples(fields["kinds"])})


def _tuples(lists: Mapping[str, list[float]]) -> dict[str, tuple[float, ...]]:
    return {name: tuple(numbers) for name, numbers in lists.items()}


def fit_latency(
    original: ir.Model,
    variants: Sequence[ir.Model],
    feeds: Feeds,
    device: Device,
    progress: Progress,
) -> LatencyModel:
    """Return a model of the latency of a network's narrowings, fitted to some of them.

    1. The original and each variant are profiled node by node.  The original is run beside each
       variant, so that a change of the machine's speed is divided out.
    2. The time of each weighted node is fitted as a + b·w + c·r + d·w·r with coefficients of at
       least 0, where w and r are what it writes and reads, in blocks of the machine's kernels.
       All else is fitted as a constant and a multiple of the entries that other nodes write.
    3. The sum is scaled so that it is the original's measured median for the original.

    Args:
        original: The graph of the network.
        variants: Random narrowings of it, 8 or more; their nodes have the names of the original's.
        feeds: A batch of examples, for each input.
        device: Where they run, and how many threads a run may use.
        progress: Receives the variants.

    Raises:
        ModelError: ONNX Runtime cannot load or run a graph.
        DeviceError: the device is not there.
    """
    profiles, milliseconds = _profiles(original, variants, feeds, device, progress)
    pairs = [
        (each.labels[position], features, each.times.get(position, 0.0))
        for each in profiles
        for position, features in each.node_features.items()
    ]
    kinds = _fitted_kinds([(features, time) for _, features, time in pairs])
    samples: dict[str, dict[str, list[tuple[NodeFeatures, float]]]] = {}
    for label, features, time in pairs:
        samples.setdefault(label, {}).setdefault(features.signature, []).append((features, time))
    nodes = {
        label: {key: _fitted_node(found, kinds) for key, found in by_signature.items()}
        for label, by_signature in samples.items()
    }
    rest = _fitted([(each.terms, each.rest) for each in profiles])
    summed = LatencyModel(1.0, (1.0, 0.0), nodes, rest, kinds, this_machine().block)
    whole = summed.predict(original)
    sums = np.array([summed.predict(graph) for graph in variants]) - whole
    totals = np.array([each.total for each in profiles[:-1]])
    slope = float((sums * (totals - 1) / totals**2).sum() / (sums**2 / totals**2).sum())
    scale = (slope, 1 - slope * whole)
    return LatencyModel(milliseconds, scale, nodes, rest, kinds, summed.block)


def _profiles(
    original: ir.Model,
    variants: Sequence[ir.Model],
    feeds: Feeds,
    device: Device,
    progress: Progress,
) -> tuple[list[_Profile], float]:
    """Return the profiles of each variant and of the original, and the original's milliseconds."""
    plain, reference = _Timed(original, feeds, device), ProfiledSession(numbered(original), device)
    times = [plain.run() for _ in range(WARM_UP)]
    runs = int(min(MOST, max(FEWEST, SECONDS * 1000 / min(times))))
    times.clear()
    found, totals = [], []
    progress.start("profiling variants", len(variants))
    for graph in variants:
        session, other = ProfiledSession(numbered(graph), device), _Timed(graph, feeds, device)
        other.run()
        for profiled in (reference, session):
            for _ in range(1 + runs):  # the first fills the processor's cache
                profiled.run(feeds)
        before, after = ([each.run() for _ in range(1 + runs)][1:] for each in (plain, other))
        times.extend(before)
        totals.append(median(after) / median(before))
        found.append(_sums(graph, session.times()))
        progress.advance()
    progress.finish()
    beside = _sums(original, reference.times())
    profiles = []
    for number, (graph, sums) in enumerate(zip(variants, found, strict=True)):
        rows = slice(number * (1 + runs) + 1, (number + 1) * (1 + runs))
        now = sum(float(each[rows].min()) for each in beside.values())
        shares = {position: each[1:] / now for position, each in sums.items()}
        profiles.append(_profile(graph, shares, totals[number]))
    now = sum(float(each.min()) for each in beside.values())
    profiles.append(_profile(original, {k: each / now for k, each in beside.items()}, 1.0))
    return profiles, median(times)


class _Timed:
    """A graph whose runs are timed.

    One thread is timed by the time that it was running, so that other programs do not count.
    """

    def __init__(self, graph: ir.Model, feeds: Feeds, device: Device) -> None:
        self._session, self._feeds = Session(graph, device), feeds
        self._outputs = [value.name or "" for value in graph.graph.outputs]
        fine = get_clock_info("thread_time").resolution < 1e-5
        self._clock = thread_time if fine and device == Device("cpu", 1) else perf_counter

    def run(self) -> float:
        """Return the milliseconds of a run."""
        start = self._clock()
        self._session.run(self._feeds, self._outputs)
        return 1000 * (self._clock() - start)


def _sums(graph: ir.Model, times: Mapping[str, FloatArray]) -> dict[int | None, FloatArray]:
    """Return the times by the position of the node with a kernel of its own, None for others."""
    nodes = list(graph.graph)
    index = {id(node): position for position, node in enumerate(nodes)}
    sums: dict[int | None, FloatArray] = {}
    for name, each in times.items():
        position = position_of(name, nodes, index)
        sums[position] = sums[position] + each if position in sums else each
    return sums


def _profile(graph: ir.Model, times: Mapping[int | None, FloatArray], total: float) -> _Profile:
    nodes = list(graph.graph)
    weighted = node_features(graph.graph, this_machine().block)
    least = {position: float(each.min()) for position, each in times.items()}
    return _Profile(
        labels={position: node_label(nodes[position]) for position in weighted},
        node_features=weighted,
        times={k: time for k, time in least.items() if k in weighted},
        rest=sum(time for k, time in least.items() if k not in weighted),
        terms=other_terms(graph.graph, weighted),
        total=total,
    )


def _of_kind(features: NodeFeatures, kinds: Mapping[str, tuple[float, ...]]) -> float:
    """Return the time of a node by the coefficients of its kind, 0 if none is known."""
    coefficients = kinds.get(features.kind, kinds.get("", (0.0,) * len(features.terms)))
    return float(_kind_terms(features) @ np.array(coefficients))


def _kind_terms(features: NodeFeatures) -> FloatArray:
    """Return terms whose coefficients suit all nodes of a kind, whatever their kernels and maps."""
    places = np.array([1.0, features.places, features.places, features.places])
    terms: FloatArray = features.terms * places
    return terms


def _fitted_kinds(samples: Sequence[tuple[NodeFeatures, float]]) -> dict[str, tuple[float, ...]]:
    """Return the coefficients of each kind, and under "" those of all kinds together."""
    by_kind: dict[str, list[tuple[FloatArray, float]]] = {}
    for features, time in samples:
        for kind in (features.kind, ""):
            by_kind.setdefault(kind, []).append((_kind_terms(features), time))
    return {kind: _fitted(found) for kind, found in by_kind.items()}


def _fitted_node(
    samples: Sequence[tuple[NodeFeatures, float]], kinds: Mapping[str, tuple[float, ...]]
) -> tuple[float, ...]:
    """Return the coefficients of a node; where it has few samples, its kind says how it goes on."""
    ratios = [time / max(_of_kind(features, kinds), 1e-12) for features, time in samples]
    level = median(ratios)
    seen = np.array([features.terms for features, _ in samples])
    middle = seen.mean(axis=0)
    prior = []
    for share in PRIOR_SHARES:
        terms = np.array([1.0, middle[1] * share, middle[2] * share, middle[3] * share**2])
        guess = replace(samples[0][0], terms=terms)
        prior.append((terms, level * _of_kind(guess, kinds)))
    found = [(features.terms, time) for features, time in samples]
    return _fitted(found, prior)


def _fitted(
    samples: Sequence[tuple[FloatArray, float]], prior: Sequence[tuple[FloatArray, float]] = ()
) -> tuple[float, ...]:
    """Return the coefficients, none below 0, of least relative squares.

    Args:
        samples: Terms and times.
        prior: Further ones, of less weight.
    """
    from scipy.optimize import nnls

    terms = np.array([each for each, _ in (*samples, *prior)])
    times = np.array([time for _, time in (*samples, *prior)])
    weights = 1 / np.maximum(times, LEAST * times.max() + 1e-12)
    weights[len(samples) :] *= PRIOR_WEIGHT
    sizes = np.maximum(np.abs(terms).max(axis=0), 1e-12)
    found, _ = nnls(terms / sizes * weights[:, None], times * weights)
    return tuple((found / sizes).tolist())
