"""frivkit: how much of a trained network is frivolous, and how to take it out.

Importing this package is cheap on purpose: no numpy, torch, onnxruntime, scikit-learn or h5py is
loaded until a function needs it.
"""

__version__ = "0.1.0"
