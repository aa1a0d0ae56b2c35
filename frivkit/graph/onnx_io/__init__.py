"""Reading and writing ONNX files; rewrites that reading makes."""
