"""Limits that ONNX and protobuf set to files."""

LARGEST_INLINE = 1_800_000_000
"""Bytes of weights above which they go to a file of their own (protobuf ends at 2 GiB)."""
LARGEST_FILE = 2**31 - 2**20
"""Bytes of weights above which a file without external data cannot be written at all."""
INITIALIZERS_ARE_NO_INPUTS = 4
"""The first IR version in which initializers need not be listed as inputs, too."""
