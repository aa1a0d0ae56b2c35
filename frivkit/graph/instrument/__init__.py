"""Copies of a model with extra inputs or outputs, to be run."""
