"""onnxsim's structured pruning as a side: by weight norm or Wanda, with or without its refit."""

from pathlib import Path

import numpy as np
import onnx
import onnxsim  # type: ignore[import-untyped]  # has none

from benchmarks.subjects import Subject

BATCH = 50


def pruned(subject: Subject, ratio: float, path: Path, *, wanda: bool, together: bool) -> None:
    """Write the file that onnxsim makes at a ratio, calibrated on all calibration examples.

    Args:
        subject: The network; it is simplified first, as onnxsim's own pages do it.
        ratio: The share of channels to take out, in [0, 1).
        path: The file.
        wanda: Whether weights are weighed by the norms of what they read.
        together: Whether channels of all layers are ranked together.
    """
    model, _ = onnxsim.simplify(onnx.load(subject.model))
    options = {"sparsity": ratio, "global_sparsity": together}
    if wanda:
        options["calibration_data"] = _batches(subject)
        made = onnxsim.apply_structured_wanda_pruning(model, **options)
    else:
        made = onnxsim.apply_structured_pruning(model, **options)
    onnx.save(made, path)


def refitted(subject: Subject, path: Path) -> None:
    """Let ``apply_pruning_finetune`` refit a pruned file in place."""
    model, _ = onnxsim.simplify(onnx.load(subject.model))
    made = onnxsim.apply_pruning_finetune(
        model, onnx.load(path), calibration_data=_batches(subject)
    )
    onnx.save(made, path)


def _batches(subject: Subject) -> list[dict[str, np.ndarray]]:
    x, _ = subject.examples
    return [{"x": x[first : first + BATCH]} for first in range(0, len(x), BATCH)]
