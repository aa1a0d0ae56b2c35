"""ONNX Runtime sessions without frivkit, with the threads of all competitors."""

import onnxruntime as ort

from benchmarks.measuring.setting import THREADS


def session(model: bytes) -> ort.InferenceSession:
    """Open a model on the CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
