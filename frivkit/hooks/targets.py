"""The attributes and calls that the target of each hook has, checked when it is looked up.

A target that lacks one would otherwise fail in the middle of a run, as if frivkit were wrong.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ITSELF = ""
"""The name that stands for the target itself among the calls that it takes."""


@dataclass(frozen=True, slots=True)
class TargetShape:
    """The attributes that a target has, and the calls that it takes.

    Attributes:
        attributes: Names of the attributes.
        calls: The number of positional arguments by the name of a method, or by ``ITSELF``.
        entries: The shape of each value if the target is a mapping from names.
    """

    attributes: tuple[str, ...] = ()
    calls: Mapping[str, int] = field(default_factory=dict)
    entries: "TargetShape | None" = None


SHAPES: Mapping[str, TargetShape] = {
    "model_providers": TargetShape(calls={ITSELF: 2}),
    "operator_rules": TargetShape(
        entries=TargetShape(
            (
                "propagate",
                "narrow",
                "nonlinear",
                "elementwise",
                "mixes",
                "beside_batch",
                "weights",
            ),
            {"propagate": 3},
        )
    ),
    "data_sources": TargetShape(calls={ITSELF: 2}),
    "unit_selectors": TargetShape(
        ("name", "count", "mask", "rows", "axes"), {"count": 1, "mask": 2, "rows": 2, "axes": 1}
    ),
    "metrics": TargetShape(("measure", "options", "per_unit"), {"measure": 2}),
    "tasks": TargetShape(("compares",), {"claims": 2, "comparer": 2}),
    "bases": TargetShape(calls={ITSELF: 2}),
    "rankings": TargetShape(calls={ITSELF: 2}),
    "refits": TargetShape(("fit", "quick"), {"fit": 2, "quick": 2}),
    "architectures": TargetShape(("build", "options", "layers", "joined"), {"build": 4}),
    "trainers": TargetShape(("fit", "options"), {"fit": 6}),
    "planners": TargetShape(calls={ITSELF: 2}),
    "recipes": TargetShape(("read_text", "name")),
    "figures": TargetShape(("draw",)),  # called with curves, or with a folder
    "engines": TargetShape(calls={ITSELF: 1}),
    "cli_commands": TargetShape(("name", "help", "params", "main", "invoke", "get_short_help_str")),
}
"""The shape of the targets of each hook."""


def fault(hook: str, target: Any) -> str | None:
    """Return the first fault in the shape of a target, in words, or None.

    Args:
        hook: One of ``frivkit.hooks.registry.HOOKS``.  A hook that is not in :data:`SHAPES` has no
            faults.
        target: The object that an offer names.

    Example:
        >>> fault("unit_selectors", object())
        'it has no name, count, mask, rows, axes'
        >>> fault("rankings", lambda layer_group: layer_group)
        'it does not take 2 arguments'
    """
    shape = SHAPES.get(hook)
    return None if shape is None else _fault(shape, target, "it")


def _fault(shape: TargetShape, target: Any, what: str) -> str | None:
    if shape.entries is not None:
        if not isinstance(target, Mapping):
            return f"{what} is a {type(target).__name__}, not a mapping from names"
        faults = (_fault(shape.entries, entry, repr(name)) for name, entry in target.items())
        return next(filter(None, faults), None)
    if shape.attributes and isinstance(target, type):
        return f"{what} is a class; offer an instance of it"
    missing = [name for name in shape.attributes if not hasattr(target, name)]
    if missing:
        return f"{what} has no {', '.join(missing)}"
    faults = (_call_fault(target, name, calls, what) for name, calls in shape.calls.items())
    return next(filter(None, faults), None)


def _call_fault(target: Any, name: str, arguments: int, what: str) -> str | None:
    called = getattr(target, name) if name else target
    subject = f"its {name}" if name and what == "it" else f"{what}.{name}" if name else what
    if not callable(called):
        return f"{subject} cannot be called"
    if not _takes(called, arguments):
        return f"{subject} does not take {arguments} argument{'s' if arguments > 1 else ''}"
    return None


def _takes(called: Any, arguments: int) -> bool:
    """Whether a call with so many positional arguments fits, as far as Python knows."""
    try:
        signature = inspect.signature(called)
    except (TypeError, ValueError):  # some built-in functions have no signature
        return True
    try:
        signature.bind(*range(arguments))
    except TypeError:
        return False
    return True
