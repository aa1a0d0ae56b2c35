"""The document of an int8 file, and the document as text."""

from collections.abc import Mapping
from typing import Any

from frivkit.documents.files import FloatFilePart, Int8Document
from frivkit.provenance import Clock
from frivkit.quantization import Int8Result
from frivkit.report.format import file_name, percent, readable, span
from frivkit.report.layout import joined, wrapped
from frivkit.report.verification import verification_document, verification_text
from frivkit.verification import Verification


def int8_document(result: Int8Result, clock: Clock, seed: int) -> Int8Document:
    """Return the document ``frivkit.int8/1``, see ``docs/reference/json.md``.

    It is the verification of the int8 file against the original, under ``verification``, with what
    was done and a comparison with the float file that it was made of.
    """
    made = result.quantized
    return {
        "schema": "frivkit.int8/1",
        "path": str(result.path),
        "weight_bits": 7 if made.reduce_range else 8,
        "folded": made.folded,
        "equalized": made.equalized,
        "refined": made.refined,
        "float_nodes": dict(made.float_nodes),
        "verification": verification_document(result.verification, clock, seed),
        "against_float": _against(result.against_float),
        "warnings": list(result.warnings),
    }


def _against(verification: Verification) -> FloatFilePart:
    """Return how the int8 file compares with the float file that it was made of."""
    agreement, before = verification.comparison.agreement, verification.original
    ratios = {
        str(size): list(after.against(one))
        if (after := verification.compressed.latency[size]) and one
        else None
        for size, one in before.latency.items()
    }
    return {
        "path": str(before.model.path),
        "bytes": before.bytes,
        "latency_ratio": ratios,
        "agreement": {
            "labels": agreement.share,
            "interval": list(agreement.interval),
            "compares": verification.comparison.main.task.compares,
        },
    }


def int8_text(document: Mapping[str, Any]) -> str:
    """Return the result of an int8 file as text.

    Where int8 loses comes first; then the table and the label agreement against the original, the
    comparison with the float file, and what still computes in float.

    Args:
        document: ``frivkit.int8/1``, see ``docs/reference/json.md``.
    """
    name, table = file_name(document["against_float"]["path"]), document["verification"]
    document = readable(document)
    float_file, agreement = document["against_float"], document["against_float"]["agreement"]
    shares = [
        f"{ratio[1]:.3f} of its time at batch {size} ({ratio[0]:.3f} to {ratio[2]:.3f})"
        for size, ratio in float_file["latency_ratio"].items()
        if ratio is not None
    ]
    shares.append(
        f"{document['verification']['thin']['bytes'] / float_file['bytes']:.3f} of its bytes"
    )
    sentences = [
        f"Against {name}: {', '.join(shares)}; {percent(agreement['labels'])} of the "
        f"{agreement.get('compares', 'labels')} are the same "
        f"(95 % interval {span(agreement['interval'], percent)}).",
        f"Weights have {document['weight_bits']} bits.",
    ]
    if document["float_nodes"]:
        still = ", ".join(f"{count} {op}" for op, count in document["float_nodes"].items())
        sentences.append(f"Still in float: {still}.")
    warnings = [line for each in document["warnings"] for line in wrapped(each, "")]
    space = [""] if warnings else []
    return joined(
        [*warnings, *space, verification_text(table), "", *wrapped(" ".join(sentences), "")]
    )
