"""What torch runs, written as an ONNX file that is known to compute the same.

A :class:`~frivkit.torchconvert.network.Network` is run and written in one of two ways: modules and
TorchScript by tracing, programs of ``torch.export`` as they are.  :func:`convert` does the rest.
"""

from frivkit.torchconvert.convert import convert
from frivkit.torchconvert.network import Network, reason_of

__all__ = ["Network", "convert", "reason_of"]
