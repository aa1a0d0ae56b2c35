"""Activations of chosen layers, written to one HDF5 file (``docs/activations.md``)."""

from frivkit.activation_files.write import ActivationFile, write_activations

__all__ = ["ActivationFile", "write_activations"]
