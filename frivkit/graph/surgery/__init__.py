"""Thinner copies of a model."""
