"""The document of ``frivkit compress`` as text."""

from collections.abc import Mapping
from typing import Any

from frivkit.report.format import number, percent, readable
from frivkit.report.layout import columns, fitted, joined, wrapped
from frivkit.report.quantization import int8_text
from frivkit.report.recovery import recovery_sentence
from frivkit.report.verification import (
    comparison_text,
    doubt_lines,
    speed_lines,
)

NAMED = 4
"""Layers that are named for each reason why some are not compressed."""
NAME = 40
"""Characters of a name in the middle of a sentence."""
RESOURCES = {"macs": "MACs", "params": "parameters", "units": "units"}
"""The names of resources, by their keys in the document."""


def compression_text(document: Mapping[str, Any]) -> str:
    """Return a compression as text: layers, what was not compressed and why, and the verification.

    Args:
        document: ``frivkit.compression/1``, see ``docs/reference/json.md``.
    """
    shown = readable(document)
    rows = [
        [
            layer["layer"],
            str(layer["units_before"]),
            str(layer["units_after"]),
            "" if layer["predicted_error"] is None else number(layer["predicted_error"]),
        ]
        for layer in shown["layers"]
    ]
    head = ["layer", "units", "kept", "predicted error"]
    lines = columns([head, *rows], right={1, 2, 3}, names={0})
    lines += _split(shown["factors"])
    lines += [
        line
        for each in shown["dropped_branches"]
        for line in ("", *wrapped(f"The branch added at {each['node']} is dropped.", ""))
    ]
    lines += _reasons(shown["skipped"])
    lines += ["", *wrapped(calibration_sentence(shown), "")]
    lines += wrapped(coarse, "") if (coarse := overshoot_sentence(shown)) else []
    if shown.get("recovery"):
        lines += wrapped(recovery_sentence(shown["recovery"]), "")
    if shown["kinds"]["leaving"]:
        lines += wrapped(describe_kinds(shown["kinds"]), "")
    if document["thin"] is None:
        return joined([*lines, "", "This is a plan (--dry-run): no model was written."])
    lines = [*doubt_lines(document), *speed_lines(document), *lines, "", comparison_text(document)]
    if document["int8"] is not None:
        lines += ["", int8_text(document["int8"])]
    return joined(lines)


def describe_kinds(kinds: Mapping[str, int]) -> str:
    """Return a sentence on the kinds of the removed units.

    Example:
        >>> describe_kinds({"leaving": 20, "prunable": 5, "redundant": 12, "both": 2})
        'Of the 20 removed units 5 are prunable, 12 redundant, 2 of them both, and 5 neither.'
    """
    leaving, both = kinds["leaving"], kinds["both"]
    neither = leaving - kinds["prunable"] - kinds["redundant"] + both
    return (
        f"Of the {leaving:,} removed units {kinds['prunable']:,} are prunable, "
        f"{kinds['redundant']:,} redundant, {both:,} of them both, and {neither:,} neither."
    )


def _split(factors: list[dict[str, Any]]) -> list[str]:
    """Return the table of the factorized nodes, no lines if there are none."""
    rows = [
        [
            each["node"],
            each["kind"],
            f"{each['columns']} x {each['outputs']}",
            str(each["rank"]),
            percent(each["weights_left"]),
            "" if each["error"] is None else number(each["error"]),
        ]
        for each in factors
    ]
    if not rows:
        return []
    head = ["factorized node", "kind", "weight", "rank", "of its weights", "predicted error"]
    return ["", *columns([head, *rows], right={2, 3, 4, 5}, names={0})]


def calibration_sentence(document: Mapping[str, Any]) -> str:
    """Return a sentence on the calibration data, and one on the resources that are left.

    Args:
        document: ``frivkit.compression/1``.
    """
    calibration, left = document["calibration"], document["budget"]["left"]
    shares = ", ".join(
        f"{percent(left[key])} of the {name}"
        for key, name in RESOURCES.items()
        if left[key] is not None
    )
    return (
        f"Calibrated on {calibration['examples']:,} examples of {calibration['data']}. "
        f"What is left: {shares}."
    )


def overshoot_sentence(document: Mapping[str, Any]) -> str:
    """Return a sentence on a budget that the plan goes far below, empty if it does not.

    Args:
        document: ``frivkit.compression/1``.
    """
    budget = document["budget"]
    found = budget["overshoot"]
    if found is None:
        return ""
    return overshoot_text(budget["share"], RESOURCES[budget["kind"]], found)


def overshoot_text(share: float, resource: str, found: Mapping[str, Any]) -> str:
    """Return a sentence on a plan that goes far below its budget.

    Args:
        share: The share that was asked for.
        resource: What it is a share of, in words.
        found: As :func:`overshoot_document` gives it.
    """
    return (
        f"Requested: {percent(share)} of the {resource}; reached: {percent(found['reached'])}, "
        f"since {found['reason']}."
    )


def _reasons(skipped: list[dict[str, str]]) -> list[str]:
    lines = ["", "not compressed"] if skipped else []
    for reason in dict.fromkeys(skip["reason"] for skip in skipped):
        of = [skip.get("layer") or skip["node"] for skip in skipped if skip["reason"] == reason]
        more = f" and {len(of) - NAMED} more (see --json)" if len(of) > NAMED else ""
        names = ", ".join(fitted(name, NAME) for name in of[:NAMED])
        lines += wrapped(f"  {names}{more}: {reason}", "    ")
    return lines
