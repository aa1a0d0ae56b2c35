"""What every document of ``frivkit analyze --json`` holds, whatever the model and the metrics."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema

SCHEMAS: dict[str, Any] = {
    path.name.partition("-")[0]: json.loads(path.read_text())
    for path in sorted((Path(__file__).parents[1] / "docs/schema").iterdir())
}
"""The published schemas by kind of document."""

NUMBER = (int, float)
MAYBE_TEXT, MAYBE_NUMBER = (str, type(None)), (int, float, type(None))
DOCUMENT = {
    "schema": str,
    "model": dict,
    "data": dict,
    "sites": list,
    "skipped": list,
    "measurements": list,
    "warnings": list,
    "provenance": dict,
}
MODEL = {"path": str, "sha256": str, "format": str, "parameters": int, "macs": MAYBE_NUMBER}
DATA = {
    "spec": str,
    "sha256": str,
    "examples": int,
    "labels_in_largest_class": NUMBER,
    "warnings": list,
}
SITE = {"name": str, "layer": str, "op": str, "units": int, "spatial": list, "coupling": MAYBE_TEXT}
SKIPPED = {"node": str, "op": str, "reason": str}
MEASUREMENT = {
    "metric": str,
    "scope": str,
    "layer": MAYBE_TEXT,
    "units": MAYBE_TEXT,
    "protocol": str,
    "value": MAYBE_NUMBER,
    "interval": (list, type(None)),
    "examples": int,
    "detail": dict,
}
PRUNABILITY = {"tolerance": float, "levels": list, "unchanged": list, "chosen_repeat": int}
PROVENANCE = {
    "frivkit": str,
    "python": str,
    "packages": dict,
    "plugins": dict,
    "seed": int,
    "command": list,
    "started": str,
    "seconds": NUMBER,
}


def strict(schema: Any) -> Any:
    """Return a schema that refuses keys it does not name; the published ones let versions grow."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items()}
    if "properties" in found and "required" in found:
        found.setdefault("additionalProperties", False)
    return found


def complaints(document: Mapping[str, Any], *, schemas: Mapping[str, Any] = SCHEMAS) -> list[str]:
    """Return what is wrong with a document after a round trip through JSON."""
    read = json.loads(json.dumps(document, allow_nan=False))
    schema = strict(schemas[read["schema"].removeprefix("frivkit.").removesuffix("/1")])
    validator = jsonschema.Draft202012Validator(schema)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(read)]


def check_analysis(document: dict[str, Any]) -> None:
    """Fail unless a document has every key of the contract, of its type, and makes sense."""
    _has(document, DOCUMENT)
    assert complaints(document) == []
    assert document["schema"] == "frivkit.analysis/1"
    _has(document["model"], MODEL)
    _has(document["data"], DATA)
    for part in (document["model"], document["data"]):
        assert re.fullmatch("[0-9a-f]{64}", part["sha256"])
    assert 0 < document["data"]["labels_in_largest_class"] <= 1
    for site in document["sites"]:
        _has(site, SITE)
        assert site["units"] > 0
        assert all(isinstance(size, int) and size > 0 for size in site["spatial"])
    layers = [site["layer"] for site in document["sites"]]
    assert len(set(layers)) == len(layers)
    for skipped in document["skipped"]:
        _has(skipped, SKIPPED)
    assert document["measurements"]
    for measurement in document["measurements"]:
        _check_measurement(measurement, layers)
    _has(document["provenance"], PROVENANCE)
    assert document["provenance"]["command"][0] == "frivkit"


def _check_measurement(found: dict[str, Any], layers: list[str]) -> None:
    _has(found, MEASUREMENT)
    assert found["scope"] in ("network", "layer")
    assert found["layer"] in layers if found["scope"] == "layer" else found["layer"] is None
    assert found["protocol"] in ("paper", "reference")
    if found["interval"] is not None:
        low, high = found["interval"]
        assert low <= high
    if found["metric"] == "prunability":
        detail = found["detail"]
        _has(detail, PRUNABILITY)
        assert 0 <= found["value"] <= 1
        assert detail["levels"] == sorted(detail["levels"])
        assert detail["levels"][0] == 0
        assert 0 <= detail["chosen_repeat"] < len(detail["unchanged"])
        for curve in detail["unchanged"]:
            assert len(curve) == len(detail["levels"])
            assert all(share is None or 0 <= share <= 1 for share in curve)


def results(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document without what may differ between two runs of one command."""
    return {key: value for key, value in document.items() if key != "provenance"}


def _has(part: dict[str, Any], keys: dict[str, Any]) -> None:
    assert set(keys) <= set(part), f"without {set(keys) - set(part)}"
    for key, kind in keys.items():
        assert isinstance(part[key], kind), f"{key} is {part[key]!r}"
        assert not (isinstance(part[key], bool) and kind is not bool), f"{key} is {part[key]!r}"
