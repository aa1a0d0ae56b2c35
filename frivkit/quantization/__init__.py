"""Quantization: int8 files of compressed models, by ONNX Runtime's quantizer."""

from frivkit.quantization.int8 import (
    Int8Options,
    Int8Result,
    Quantized,
    int8_path,
    quantize,
    write_int8,
)

__all__ = ["Int8Options", "Int8Result", "Quantized", "int8_path", "quantize", "write_int8"]
