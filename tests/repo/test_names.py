"""Names: one public type a name, and no word that the project has given up."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORE = sorted((ROOT / "frivkit").rglob("*.py"))
CODE = [
    path
    for folder in ("frivkit", "plugins", "tests", "benchmarks", "reliability")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path.parent != ROOT / "frivkit/documents"  # keys of JSON keep their names within a version
]

RETIRED = {
    # the graph
    "Bundle": "LayerGroup",
    "bundle": "layer_group",
    "bundles": "layer_groups",
    "dequantise": "dequantize",
    "dequantised": "dequantized",
    "find_writers": "find_producers",
    "Followed": "Propagation",
    "followed": "propagation",
    "junction": "merge_point",
    "junctions": "merge_points",
    "Junction": "MergePoint",
    "lying": "located",
    "Marks": "GroupIds",
    "marks": "group_ids",
    "readers": "consumers",
    "reading": "linear_consumer",
    "Reading": "LinearConsumer",
    "readings": "linear_consumers",
    "Survey": "SiteMap",
    "survey": "site_map or find_sites",
    "tap": "hook_point, or kernel_position",
    "tapped": "hook_point or with_outputs",
    "taps": "hook_points, or kernel_positions",
    "tie": "group",
    "Ties": "GroupAssignment",
    "ties": "assignment",
    "turned": "batch_first or transposed",
    "turning": "batch_first",
    "walk": "traverse",
    "widen": "bfloat16_to_float32",
    "writers": "producers",
    # running, data
    "Asked": "LabelOptions or SweepRequest",
    "asked": "requested",
    "distort": "augment",
    "Distorter": "Augmenter",
    "Distortion": "Augmentation",
    "fed": "adapted or inputs",
    "feed": "adapter or inputs",
    "Feed": "InputAdapter",
    "intact": "baseline",
    "Intact": "BaselineModel",
    "Judge": "LabelReader",
    "judge": "label_reader",
    "relabel": "random_labels",
    # measuring
    "Fold": "LinearReplacement",
    "Graded": "LevelledPerturbation",
    "kinds_told": "describe_kinds",
    "ladder": "mask_schedule or levels",
    "meter": "metric",
    "meters": "metrics",
    "rung": "level",
    "StandIn": "LinearReconstruction",
    "stand_in": "reconstruct",
    "unitmeters": "unit_metrics",
    # compression and verification
    "Facts": "ModelFacts",
    "proof": "verification",
    "Refactorer": "Basis",
    "BasisFactory": "Basis",
    "basis_factory": "basis",
    "refactorer": "basis",
    "refactorers": "bases",
    "Side": "ModelRun",
    "thin": "compressed",
    "tolerating": "for_tolerance",
    # experiments
    "laboratories": "planners",
    "Laboratory": "ExperimentPlanner",
    "laboratory": "planner",
    "Work": "Job",
    "works": "jobs",
}
"""Identifiers that may not come back, and the word to use in the place of each."""


def public_types(tree: ast.Module) -> Iterator[str]:
    """Yield the names of the classes and type aliases that a module defines for others."""
    for node in tree.body:
        names = []
        if isinstance(node, ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign) and not isinstance(node.value, ast.Call):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        yield from (name for name in names if name[0].isupper() and not name.isupper())


def test_no_two_public_types_share_a_name():
    modules = defaultdict(list)
    for path in CORE:
        for name in public_types(ast.parse(path.read_text())):
            modules[name].append(str(path.relative_to(ROOT)))
    assert {name: where for name, where in modules.items() if len(where) > 1} == {}


def identifiers(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of whatever a module names itself.

    Attributes count where they are set: those of other libraries are only read.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.name


def test_no_identifier_is_a_retired_word():
    retired = [
        f"{path.relative_to(ROOT)}:{line}: {name}; use {RETIRED[name.strip('_')]}"
        for path in CODE
        for line, name in [(1, path.stem), *identifiers(ast.parse(path.read_text()))]
        if name.strip("_") in RETIRED
    ]
    assert retired == []
