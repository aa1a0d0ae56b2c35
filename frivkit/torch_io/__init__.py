"""From torch to ONNX and back to a model."""
