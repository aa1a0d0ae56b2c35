"""ONNX Runtime: sessions, batches within a memory bound, perturbed runs."""
