"""Torch networks: written as ONNX, and opened as models."""
