"""Analyses made up for the tests of what is shown: plain, large and hostile."""

import copy
from typing import Any

Document = dict[str, Any]

HOSTILE = (
    "<script>alert(document.domain)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></svg></style></table><style>*{display:none}</style>",
    "{{ 7*7 }}{% for x in y %}",
    "]]><!--<a href='http://example.com/'>",
    "\x1b[31mred\x1b[0m\x00\r\n\u202egnp.exe\u2028\ud800",
    "x" * 3000,
    "a  b\tc",
)


def ablation(
    layer: str | None,
    value: float | None,
    *,
    crossed: bool = True,
    metric: str = "prunability",
) -> Document:
    """Return a measurement whose best repeat falls below 80 % at ``value``."""
    at = 0.5 if value is None or value in (0, 1) else value
    return {
        "metric": metric,
        "scope": "network" if layer is None else "layer",
        "layer": layer,
        "units": "location",
        "protocol": "paper",
        "value": value,
        "interval": None if value is None else [max(0, value - 0.03), min(1, value + 0.02)],
        "examples": 500,
        "detail": {
            "tolerance": 0.2,
            "levels": [0.0, at / 2, at, 1.0],
            "unchanged": [[1.0, 0.9, None, 0.1], [1.0, 0.95, 0.8, 0.1 if crossed else 0.8]],
            "chosen_repeat": 1,
            "values": [at, at],
            "crossed": crossed,
            "units": 4096,
        },
    }


def plain(metric: str, layer: str | None, value: float | None, **more: Any) -> Document:
    """Return a measurement that has a value and little else."""
    return {
        "metric": metric,
        "scope": "network" if layer is None else "layer",
        "layer": layer,
        "units": None,
        "protocol": "paper",
        "value": value,
        "interval": None,
        "examples": 500,
        "detail": {},
    } | more


def document(*measurements: Document, layers: tuple[str, ...] = ("a", "b", "c")) -> Document:
    """Return an analysis of those measurements."""
    return copy.deepcopy(
        {
            "schema": "frivkit.analysis/1",
            "model": {
                "path": "nets/small.onnx",
                "sha256": "a" * 64,
                "format": "onnx",
                "parameters": 421642,
                "macs": 4241152,
            },
            "data": {
                "spec": "npz:digits.npz?n=500",
                "sha256": "b" * 64,
                "examples": 500,
                "labels_in_largest_class": 0.102,
                "constant_agreement": 0.102,
                "accuracy": 0.996,
                "warnings": [],
            },
            "task": "classify",
            "tasks": [
                {
                    "name": "classify",
                    "outputs": ["y"],
                    "compares": "labels",
                    "reason": "nothing speaks for another task",
                    "axis": 1,
                    "tolerance": None,
                }
            ],
            "sites": [
                {
                    "name": f"{layer}/relu",
                    "layer": layer,
                    "op": "Conv",
                    "units": 32,
                    "spatial": [28, 28],
                    "coupling": None,
                }
                for layer in layers
            ],
            "skipped": [{"node": "last", "op": "Gemm", "reason": "its units are the outputs"}],
            "measurements": list(measurements),
            "warnings": [],
            "provenance": {
                "frivkit": "0.1.0",
                "python": "3.11.7",
                "packages": {"numpy": "2.4.6"},
                "plugins": {"frivkit_ablation": "0.1.0"},
                "seed": 0,
                "command": ["frivkit", "analyze", "nets/small.onnx"],
                "started": "2026-01-02T03:04:05+00:00",
                "seconds": 3.083,
                "reused": {},
                "layers": list(layers),
            },
        }
    )


def small() -> Document:
    """Return an analysis of three layers and the network."""
    values = {None: 0.665, "a": 0.934, "b": 0.929, "c": 0.772}
    return document(*(ablation(layer, value) for layer, value in values.items()))


def large(names: tuple[str, ...]) -> Document:
    """Return an analysis of many layers, one undefined and one whose curve never falls."""
    rows = [ablation(None, 0.31), *(ablation(n, 0.2 + i / 200) for i, n in enumerate(names))]
    rows[3] = ablation(names[2], None)
    rows[4] = ablation(names[3], 1.0, crossed=False)
    rows.append(plain("label-entropy", None, 3.3219))
    rows += [plain("curvature", name, 4.0 - i) for i, name in enumerate(names[:9])]
    found = document(*rows, layers=names)
    found["data"]["warnings"] = [f"{names[0]}: one class has nearly all labels"]
    found["warnings"] = [f"{names[1]}: gave NaN"]
    return found


def mapped() -> Document:
    """Return an analysis of layers with names that mean harm, with the graph of its layers."""
    names = HOSTILE
    found = document(
        *(ablation(name, None if i == 2 else 0.1 + i / 12) for i, name in enumerate(names)),
        *(plain("redundancy", name, i / 9, detail=_spectrum(i)) for i, name in enumerate(names)),
        *(plain("correlation", name, 0.2, detail=_histogram()) for name in names[:2]),
        layers=names,
    )
    for i in (3, 5):
        found["sites"][i]["coupling"] = "coupling 1"
    found["layer_graph"] = graph_of(found["sites"])
    return found


def _spectrum(rank: int) -> Document:
    explained = [1 - 0.5**i for i in range(1, 33)]
    return {"tolerance": 0.05, "rank": rank, "units": 32, "rows": 500, "explained": explained}


def _histogram() -> Document:
    return {"histogram": [9 - i % 10 for i in range(50)], "units": 32, "rows": 500}


def graph_of(sites: list[Document]) -> Document:
    """Return the graph of a chain of layers, in which the fourth is also added to the sixth."""
    nodes = [{"kind": "input", "name": "x", "op": "", "layer": None, "units": None}]
    nodes += [
        {"kind": "layer", "name": s["name"], "op": s["op"], "layer": s["layer"], "units": 32}
        for s in sites
    ]
    nodes.append({"kind": "skipped", "name": "last", "op": "Gemm", "layer": None, "units": None})
    nodes.append({"kind": "output", "name": "y", "op": "", "layer": None, "units": None})
    couplings = [None, *(site["coupling"] for site in sites), None, None]
    edges = [{"from": i, "to": i + 1, "merges": False} for i in range(len(nodes) - 1)]
    edges += [{"from": 4, "to": 6, "merges": True}] if len(sites) > 5 else []
    return {
        "nodes": [n | {"coupling": c} for n, c in zip(nodes, couplings, strict=True)],
        "edges": edges,
    }


def named(count: int = 120) -> tuple[str, ...]:
    """Return names that harm nobody."""
    return tuple(f"/model/encoder/layers.{i}/self_attn/out_proj/MatMul" for i in range(count))


def hostile(count: int = 120) -> tuple[str, ...]:
    """Return as many names, the first of which mean harm."""
    return HOSTILE + named(count)[len(HOSTILE) :]
