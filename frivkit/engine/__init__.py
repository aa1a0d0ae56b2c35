"""The engine: runs graphs in ONNX Runtime, batch by batch, within a memory bound."""
