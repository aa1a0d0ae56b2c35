"""The layers of Inception-v3, after Szegedy et al. 2016, arXiv:1512.00567.

An entry ``64 3x3`` is a convolution to 64 maps, ``/2`` gives its stride, ``v`` is
without padding, ``1x3|3x1`` are two convolutions with the same input.  ``mean`` and ``max`` are
3 x 3 pooling, ``max`` with stride 2.  The layers of a branch are in order, separated by commas.
"""

STEM = {
    "conv0": "32 3x3/2v",
    "conv1": "32 3x3v",
    "conv2": "64 3x3",
    "pool1": "max",
    "conv3": "80 1x1",
    "conv4": "192 3x3v",
    "pool2": "max",
}


def _fives(pooled: int) -> dict[str, str]:
    return {
        "branch1x1": "64 1x1",
        "branch5x5": "48 1x1, 64 5x5",
        "branch3x3dbl": "64 1x1, 96 3x3, 96 3x3",
        "branch_pool": f"mean, {pooled} 1x1",
    }


def _sevens(inner: int, pooled: str = "192") -> dict[str, str]:
    return {
        "branch1x1": "192 1x1",
        "branch7x7": f"{inner} 1x1, {inner} 1x7, 192 7x1",
        "branch7x7dbl": f"{inner} 1x1, {inner} 7x1, {inner} 1x7, {inner} 7x1, 192 1x7",
        "branch_pool": f"mean, {pooled} 1x1",
    }


_FORKED = {
    "branch1x1": "320 1x1",
    "branch3x3": "384 1x1, 384 1x3|3x1",
    "branch3x3dbl": "448 1x1, 384 3x3, 384 1x3|3x1",
    "branch_pool": "mean, 192 1x1",
}

MODULES = {
    "mixed_35x35x256a": _fives(32),
    "mixed_35x35x288a": _fives(64),
    "mixed_35x35x288b": _fives(64),
    "mixed_17x17x768a": {
        "branch3x3": "384 3x3/2v",
        "branch3x3dbl": "64 1x1, 96 3x3, 96 3x3/2v",
        "branch_pool": "max",
    },
    "mixed_17x17x768b": _sevens(128),
    "mixed_17x17x768c": _sevens(160),
    "mixed_17x17x768d": _sevens(160),
    "mixed_17x17x768e": _sevens(192),
    "mixed_8x8x1280a": {
        "branch3x3": "192 1x1, 320 3x3/2v",
        "branch7x7x3": "192 1x1, 192 1x7, 192 7x1, 192 3x3/2v",
        "branch_pool": "max",
    },
    "mixed_8x8x2048a": _FORKED,
    "mixed_8x8x2048b": _FORKED,
}
"""The branches of each module, by its name."""

VARIED = "mixed_35x35x288b"
"""The module that ``inception-v3-layer`` varies."""

DEPARTURE = {"mixed_17x17x768d": _sevens(160, "192!")}
"""The module in which the code published with the paper differs; ``!`` marks a number of maps that
does not depend on the width."""
