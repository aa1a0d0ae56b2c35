"""ONNX Runtime sessions without frivkit, with the threads of competitors."""

import onnxruntime as ort

from benchmarks.measuring.setting import THREADS


def session(model: bytes, threads: int = THREADS) -> ort.InferenceSession:
    """Open a model on the CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
