"""The JSON documents, from which text and pages are made; see ``docs/json.md``."""

import math
from typing import Any

import numpy as np

from frivkit.compression.foretold import foretell
from frivkit.graph.cost import macs, uncounted
from frivkit.graph.model import Model
from frivkit.graph.operators.table import operators_of
from frivkit.graph.sites.site_map import SiteMap
from frivkit.hooks.registry import installed
from frivkit.measure.metric import Measurement
from frivkit.measure.pipeline import Analysis
from frivkit.provenance import Clock, provenance
from frivkit.report.advice import advice
from frivkit.report.layer_graph import layer_graph_document
from frivkit.report.tasks import task_document
from frivkit.runtime.execution import Execution


def analysis_document(analysis: Analysis, clock: Clock) -> dict[str, Any]:
    """Return the document ``frivkit.analysis/1``; numbers that are not finite become null."""
    study = analysis.study
    document = {
        "schema": "frivkit.analysis/1",
        "model": _model(study.model),
        "data": {
            "spec": study.data.description,
            "sha256": study.data.digest,
            "examples": study.examples,
            "labels_in_largest_class": analysis.largest_class,
            "constant_agreement": analysis.constant,
            "accuracy": analysis.accuracy,
            "warnings": list(analysis.data_warnings),
        },
        "labels": {
            "output": study.output,
            "axis": study.task.axis,
            "change": study.task.tolerance,
        },
        "task": study.task.name,
        "tasks": [task_document(task) for task in study.tasks],
        "sites": _sites(study.site_map),
        "skipped": _skipped(study.site_map),
        "layer_graph": layer_graph_document(study.model, study.site_map),
        "measurements": [_measurement(measurement) for measurement in analysis.measurements],
        "warnings": list(study.warnings),
        "provenance": _provenance(clock, study.seed, study.execution)
        | {"reused": dict(study.reused), "layers": [site.layer for site in study.sites]},
    }
    finite: dict[str, Any] = _finite(document)
    return finite


def inspection_document(
    model: Model,
    site_map: SiteMap,
    clock: Clock,
    output: str | None = None,
    execution: Execution | None = None,
) -> dict[str, Any]:
    """Return the document ``frivkit.inspection/1``.

    Args:
        model: The model.
        site_map: Its layers.
        clock: The start of the inspection.
        output: The output whose labels are compared; None takes the first.
        execution: How labels are read, and the memory that a compression may take; None takes the
            defaults.
    """
    execution = execution or Execution()
    foretold = foretell(model, site_map, output, execution.memory)
    layer_of = {node: site.layer for site in site_map.sites for node in site.producers}
    return {
        "schema": "frivkit.inspection/1",
        "model": _model(model)
        | {
            "inputs": [
                {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape)}
                for tensor in model.inputs
            ],
            "outputs": [value.name for value in model.graph.outputs],
            "batch": model.batch,
            "metadata": dict(model.metadata),
        },
        "sites": [
            entry
            | {
                "writers": list(site.producers),
                "readers": list(site.consumers),
                "not_followed": list(site.not_followed),
                "held": foretold.held[site.layer],
                "cut_only": site.layer in foretold.cut_only,
                "parameters": site_map.weights[site.name].parameters,
                "macs": site_map.weights[site.name].macs,
            }
            for entry, site in zip(_sites(site_map), site_map.sites, strict=True)
        ],
        "couplings": [
            {
                "name": coupling.name,
                "sites": list(coupling.sites),
                "junctions": [
                    {
                        "tensor": merge_point.tensor,
                        "kind": merge_point.kind,
                        "parts": [{"site": p.site, "offset": p.offset} for p in merge_point.parts],
                    }
                    for merge_point in coupling.merge_points
                ],
            }
            for coupling in site_map.couplings
        ],
        "branches": [
            {
                "node": branch.add,
                "layers": list(dict.fromkeys(layer_of[n] for n in branch.nodes if n in layer_of)),
            }
            for branch in foretold.branches
        ],
        "factors": [{"node": node, "held": why} for node, why in foretold.whole.items()],
        "skipped": _skipped(site_map),
        "layer_graph": layer_graph_document(model, site_map),
        "advice": advice(model, site_map, model.output(output), execution.labels),
        "provenance": _provenance(clock, 0),
    }


def _model(model: Model) -> dict[str, Any]:
    facts = {
        "path": str(model.path),
        "sha256": model.sha256,
        "format": model.format,
        "parameters": model.parameters,
        "macs": macs(model.graph, operators_of(model)),
        "uncounted": list(uncounted(model.graph, operators_of(model))),
    }
    trainable = model.metadata.get("frivkit.trainable_parameters", "")
    return facts | ({"trainable_parameters": int(trainable)} if trainable.isdecimal() else {})


def _sites(site_map: SiteMap) -> list[dict[str, Any]]:
    couplings = site_map.coupling_names()
    return [
        {
            "name": site.name,
            "layer": site.layer,
            "op": site.op,
            "units": site.width,
            "spatial": list(site.spatial),
            "coupling": couplings.get(site.name),
        }
        for site in site_map.sites
    ]


def _skipped(site_map: SiteMap) -> list[dict[str, str]]:
    return [{"node": s.node, "op": s.op, "reason": s.reason} for s in site_map.skipped]


def _measurement(measurement: Measurement) -> dict[str, Any]:
    interval = measurement.interval
    return {
        "metric": measurement.metric,
        "scope": measurement.scope,
        "layer": measurement.layer,
        "units": measurement.units,
        "protocol": measurement.protocol,
        "value": measurement.value,
        "interval": list(interval) if interval is not None and _known(interval) else None,
        "examples": measurement.examples,
        "detail": dict(measurement.detail),
    }


def _known(interval: tuple[float, float]) -> bool:
    return math.isfinite(interval[0]) and math.isfinite(interval[1])


def _provenance(clock: Clock, seed: int, execution: Execution | None = None) -> dict[str, Any]:
    ran = None if execution is None else execution.ran
    return provenance(clock, seed, installed().versions(), ran)


def _finite(value: Any) -> Any:
    """Return a value of JSON types only; NumPy numbers become Python's, infinities and NaN None."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return value
