"""Whether a compressed model is faster by measurement, and if not, why."""

from collections.abc import Mapping, Sequence

from frivkit.errors import ModelError
from frivkit.graph.model import Model
from frivkit.latency.fast_path import leaves_fast_path
from frivkit.latency.timing import Latency, Verdict, verdict

SHOWN = 3
"""Nodes that a sentence names."""


def verdicts(
    original: Mapping[int, Latency | None], compressed: Mapping[int, Latency | None]
) -> dict[int, Verdict | None]:
    """Return the verdict on the compressed model for each batch size, None if not measured."""
    pairs = ((size, one, compressed[size]) for size, one in original.items())
    return {size: verdict(b.against(a)) if a and b else None for size, a, b in pairs}


def left_fast_path(original: Model, compressed: Model) -> tuple[str, ...]:
    """Return the nodes that the runtime's blocked layout lost, empty if that cannot be found out.

    See :func:`frivkit.latency.fast_path.leaves_fast_path`.
    """
    try:
        return tuple(leaves_fast_path(original.ir, compressed.ir))
    except ModelError:  # such as a graph that is too large to be written as it is optimised
        return ()


def not_faster(
    ratios: Mapping[int, Sequence[float] | None],
    found: Mapping[int, Verdict | None],
    left: Sequence[str],
) -> str | None:
    """Return a sentence that says that the compressed model is not faster and why, None if it is.

    Args:
        ratios: By batch size, the quartiles of the ratio of latencies, the median among them.
        found: By batch size, the verdict on it.
        left: The nodes that left the runtime's blocked layout.

    Example:
        >>> not_faster({1: (1.5, 1.6, 1.7)}, {1: "slower"}, ["conv1"])
        'The compressed model is not faster: it takes 1.600 times as long at batch 1 (slower); 1 \
node left the fast blocked layout of ONNX Runtime (conv1).'
    """
    slow = [
        f"it takes {ratio[1]:.3f} times as long at batch {size} ({found[size]})"
        for size, ratio in ratios.items()
        if ratio is not None and found[size] != "faster"
    ]
    if not slow:
        return None
    reason = ""
    if left:
        names = ", ".join(left[:SHOWN]) + (f" and {len(left) - SHOWN} more" * (len(left) > SHOWN))
        nodes = "node" if len(left) == 1 else "nodes"
        reason = f"; {len(left)} {nodes} left the fast blocked layout of ONNX Runtime ({names})"
    return f"The compressed model is not faster: {', '.join(slow)}{reason}."
