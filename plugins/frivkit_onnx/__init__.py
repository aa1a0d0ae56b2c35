"""Built-in model provider for ``.onnx`` files."""
