"""Whether a file computes what another computes, by ONNX Runtime in a process of its own."""

from pathlib import Path

from reliability.running.forked import call

TOLERANCE = 1e-3
"""Difference of outputs, of the largest number of them, that refitted weights explain."""
BATCH = 4


def difference(
    folder: Path, before: str, after: str, tolerance: float | None = TOLERANCE
) -> str | None:
    """Return how the outputs of two files differ on ``x.npz``, None if they do not.

    Args:
        folder: Holds the files; what is found is written into it as well.
        before: The name of the one.
        after: The name of the other.
        tolerance: The largest difference, of the largest number; None for any.
    """
    found = folder / "difference"
    call(lambda: found.write_text(_difference(folder / before, folder / after, tolerance)))
    return found.read_text() or None


def _difference(before: Path, after: Path, tolerance: float | None) -> str:
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    one, other = (ort.InferenceSession(str(path), options) for path in (before, after))
    for what in ("inputs", "outputs"):
        mine, its = (
            {each.name: each.type for each in getattr(session, f"get_{what}")()}
            for session in (one, other)
        )
        if mine != its:
            return f"other {what}: {sorted(its)}, not {sorted(mine)}"
    arrays = np.load(before.with_name("x.npz"))
    batch = one.get_inputs()[0].shape[0]
    batch = batch if isinstance(batch, int) else BATCH
    names = [each.name for each in one.get_outputs()]
    for start in range(0, len(arrays["x"]), batch):
        feeds = {name: arrays[name][start : start + batch] for name in arrays}
        runs = one.run(names, feeds), other.run(names, feeds)
        for name, left, right in zip(names, *runs, strict=True):
            if np.shape(left) != np.shape(right):
                return f"output {name!r} is of shape {np.shape(right)}, not {np.shape(left)}"
            if tolerance is None:
                continue
            if np.asarray(left).dtype.kind == "O":  # texts
                if not np.array_equal(left, right):
                    return f"output {name!r} is another"
                continue
            apart = float(np.abs(np.subtract(left, right, dtype=np.float64)).max(initial=0))
            if not apart <= tolerance * max(1.0, float(np.abs(left).max(initial=0))):
                return f"output {name!r} is another, by {apart:.3g}"
    return ""
