"""Models as torch modules: translated, their weights trainable, compared with ONNX Runtime."""
