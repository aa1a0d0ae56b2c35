"""Structured pruning by onnxsim: by weight norm or Wanda, with or without its refit."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks.networks.trained import Network

BATCH = 50


def prune(network: Network, ratio: float, path: Path, *, wanda: bool, together: bool) -> None:
    """Write the file that onnxsim prunes at a ratio, calibrated on all calibration examples.

    Args:
        network: The network; it is simplified first, as in onnxsim's own documentation.
        ratio: The share of channels to remove, in [0, 1).
        path: The file.
        wanda: Whether weights are multiplied by the norms of their inputs.
        together: Whether channels of all layers are ranked together.
    """
    import onnxsim  # type: ignore[import-untyped]  # has none

    model, _ = onnxsim.simplify(onnx.load(network.model))
    options: dict[str, Any] = {"sparsity": ratio, "global_sparsity": together}
    if wanda:
        options["calibration_data"] = _batches(network)
        pruned_model = onnxsim.apply_structured_wanda_pruning(model, **options)
    else:
        pruned_model = onnxsim.apply_structured_pruning(model, **options)
    onnx.save(pruned_model, path)


def refit(network: Network, path: Path) -> None:
    """Refit a pruned file in place by ``apply_pruning_finetune``."""
    import onnxsim

    model, _ = onnxsim.simplify(onnx.load(network.model))
    pruned_model = onnxsim.apply_pruning_finetune(
        model, onnx.load(path), calibration_data=_batches(network)
    )
    onnx.save(pruned_model, path)


def _batches(network: Network) -> list[dict[str, np.ndarray]]:
    x, _ = network.examples
    return [{"x": x[first : first + BATCH]} for first in range(0, len(x), BATCH)]
