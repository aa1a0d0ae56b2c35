"""frivkit: how much of a trained network is frivolous, and how to take it out.

Importing this package is cheap on purpose: no numpy, torch, onnxruntime, scikit-learn or h5py is
loaded until a function needs it.

:func:`frivkit.load` opens a torch network as a model.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frivkit.torch_io.load import load

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from frivkit.torch_io.load import load

        return load
    raise AttributeError(f"module 'frivkit' has no attribute {name!r}")
