"""ONNX Runtime as a user without frivkit opens it, with the threads that every side has."""

import onnxruntime as ort

from benchmarks.setting import THREADS


def session(model: bytes) -> ort.InferenceSession:
    """Open a model on the processor."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
