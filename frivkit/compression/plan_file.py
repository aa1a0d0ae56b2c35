"""Plans as JSON, ``frivkit.plan/1``: to be read, edited, reviewed and applied again."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from frivkit.compression.calibration import Calibration
from frivkit.compression.linear_consumers import LinearConsumer
from frivkit.compression.low_rank import FactorKind, is_separable
from frivkit.compression.moves import BranchMove, Moves, branch_moves, kernel_of
from frivkit.compression.plan import Factorization, Keep, Plan
from frivkit.digests import split_checksum, with_checksum
from frivkit.documents.files import PlanDocument
from frivkit.errors import UsageError
from frivkit.files import read_regular, write_file

SCHEMA = "frivkit.plan/1"
LARGEST = 2**31 - 1
"""The largest number of a unit, and the highest rank."""


def plan_document(calibration: Calibration, plan: Plan) -> PlanDocument:
    """Return a plan as a document; see ``docs/reference/json.md``.

    A layer is listed with the units that are removed from it, numbered from 0.
    """
    return {
        "schema": "frivkit.plan/1",
        "model": {"name": calibration.model.path.name, "sha256": calibration.model.sha256},
        "predicted_error": plan.error,
        "layers": [
            {
                "layer": site.layer,
                "units": site.width,
                "removed": np.flatnonzero(~plan.keep[site.name]).tolist(),
            }
            for site in calibration.site_map.sites
        ],
        "factorized": [
            {"node": node, "kind": how.kind, "rank": how.rank}
            for node, how in plan.factorized.items()
        ],
        "dropped_branches": [move.branch.add for move in plan.dropped],
    }


def write_plan(document: Mapping[str, Any], path: Path) -> None:
    """Write the document of a plan, whole or not at all.

    Raises:
        FrivkitError: the file cannot be written; a former one stays as it was.
    """
    write_file(path, (json.dumps(with_checksum(document), indent=1) + "\n").encode())


def read_document(path: Path) -> dict[str, Any]:
    """Return the document of a plan's file, checked against no model.

    Raises:
        UsageError: the file cannot be read, or is no plan.
    """
    try:
        document, _ = split_checksum(read_regular(path))
    except OSError as error:
        why = error.strerror or error
        raise UsageError(f"the plan {path} cannot be read: {why}; give another file") from error
    except ValueError as error:
        raise UsageError(f"the plan {path} cannot be read: {error}") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise UsageError(f"{path} is no plan: its schema is not {SCHEMA}; see --save-plan")
    return document


def warnings_of(path: Path) -> tuple[str, ...]:
    """Return a warning if a plan's file is not as frivkit wrote it: it is there to be edited.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no JSON.
    """
    _, checksum = split_checksum(read_regular(path))
    if checksum == "right":
        return ()
    return (f"the plan {path} is not as frivkit wrote it: it was edited, or is damaged",)


def read_plan(path: Path, calibration: Calibration, moves: Moves) -> Plan:
    """Return the plan of a file, checked against a model.

    All units of a pruning group leave if one of them is listed.

    Args:
        path: The JSON file.
        calibration: The model.
        moves: The moves of its basis, of which a branch comes before that of frivkit.

    Raises:
        UsageError: the file cannot be read, is no plan, or does not fit the model.
    """
    document = read_document(path)
    try:
        return _plan(document, calibration, moves)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{path} is no plan that fits this model: {type(error).__name__} {error}; write one "
            "by --save-plan and edit it"
        ) from error


def _plan(document: Mapping[str, Any], calibration: Calibration, moves: Moves) -> Plan:
    made_for, model = document["model"]["sha256"], calibration.model
    if made_for != model.sha256:
        raise UsageError(
            f"the plan was made for another model (SHA-256 {made_for[:12]}..., not "
            f"{model.sha256[:12]}...); make one for this model by --save-plan"
        )
    error = float(document.get("predicted_error", 0.0))
    if not 0 <= error < float("inf"):
        raise ValueError(f"predicted_error is {error}, not a number of at least 0")
    return Plan(
        _keep(document["layers"], calibration),
        error,
        _factorized(document["factorized"], calibration),
        _dropped(document["dropped_branches"], calibration, moves),
    )


def _keep(entries: Sequence[Mapping[str, Any]], calibration: Calibration) -> Keep:
    """Return which units the plan keeps; the other units of a pruning group leave with one."""
    groups = calibration.pruning_graph.groups
    sites = {site.layer: site for site in calibration.site_map.sites}
    kept = np.ones(groups.count, np.bool_)
    for entry in entries:
        site = sites.get(entry["layer"])
        if site is None:
            raise UsageError(f"the plan names a layer {entry['layer']!r}; there is none")
        for unit in map(_whole_number, entry["removed"]):
            if not 0 <= unit < site.width:
                raise UsageError(
                    f"the plan removes unit {unit} of {site.layer}; it has {site.width}, "
                    "numbered from 0"
                )
            group = int(groups.of[site.name][unit])
            if group in groups.locked:
                raise UsageError(
                    f"the plan removes a unit of {site.layer} that cannot be removed: "
                    f"{groups.locked[group]}"
                )
            kept[group] = False
    keep = groups.flags(kept)
    for site in sites.values():
        if not keep[site.name].any():
            raise UsageError(f"the plan removes all units of {site.layer}; leave at least one")
    return keep


def _factorized(
    entries: Sequence[Mapping[str, Any]], calibration: Calibration
) -> dict[str, Factorization]:
    """Return how the plan factorizes nodes, by their labels."""
    kinds = {
        each.consumer.node: _kinds(each)
        for each in calibration.linear_consumers
        if each.kept_as_is is None
    }
    factorized = {}
    for entry in entries:
        node, kind, rank = entry["node"], entry["kind"], _whole_number(entry["rank"])
        if kind not in kinds.get(node, ()) or rank < 1:
            raise UsageError(
                f"the plan factorizes {node!r} ({kind}, rank {rank}), which cannot be; give a "
                "node that reads units, pca or separable (a kernel of k x k), and a "
                "rank of 1 or more"
            )
        factorized[node] = Factorization(kind, rank)
    return factorized


def _dropped(
    labels: Sequence[str], calibration: Calibration, moves: Moves
) -> tuple[BranchMove, ...]:
    """Return the branches that the plan drops, given by the Adds where they end."""
    offered = (*branch_moves(calibration).branches, *moves.branches)
    branches = {move.branch.add: move for move in offered}
    unknown = next((label for label in labels if label not in branches), None)
    if unknown is not None:
        raise UsageError(
            f"the plan drops a branch at {unknown!r}; known: {', '.join(branches) or 'none'}"
        )
    return tuple(branches[label] for label in dict.fromkeys(labels))


def _whole_number(value: object) -> int:
    """Return a whole number of a document.

    Raises:
        TypeError: it is something else, such as 2.5 or true.
    """
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > LARGEST:
        raise TypeError(f"{value!r} is no whole number, or too large"[:100])
    return value


def _kinds(linear_consumer: LinearConsumer) -> tuple[FactorKind, ...]:
    """Return the kinds of factorization that a node can have; none if it shares its weight."""
    if linear_consumer.shared is not None:
        return ()
    return ("pca", "separable") if is_separable(kernel_of(linear_consumer)) else ("pca",)
