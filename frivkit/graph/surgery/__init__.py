"""Copies of a model with fewer units or other weights, to be written to a file."""
