"""Read and write ONNX files, and rewrite graphs on reading."""
