"""Engines: where the batches of a data set are run."""
