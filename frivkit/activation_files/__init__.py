"""Activations of chosen layers, written to one HDF5 file (``docs/activations.md``)."""

from frivkit.activation_files.write import Written, write_activations

__all__ = ["Written", "write_activations"]
