"""Mutations of the stored tensors of ONNX models: shapes, types, numbers and where they lie."""

import numpy as np
from numpy.random import Generator
from onnx import ModelProto, TensorProto, helper

from reliability.fuzz.onnx_places import TYPES, tensor_of
from reliability.fuzz.values import integer, number, one_of, text


def change_dims(model: ModelProto, rng: Generator) -> None:
    """Declare another shape of a weight, with the same numbers."""
    tensor = tensor_of(model, rng)
    way = rng.integers(4)
    if way == 0 and len(tensor.dims) > 1:
        shape = list(tensor.dims)[::-1]
        del tensor.dims[:]
        tensor.dims.extend(shape)
    elif way == 1 and tensor.dims:
        tensor.dims[int(rng.integers(len(tensor.dims)))] = integer(rng)
    elif way == 2:
        tensor.dims.append(int(rng.integers(0, 3)))
    elif tensor.dims:
        del tensor.dims[-1]


def resize_weight(model: ModelProto, rng: Generator) -> None:
    """Give a weight other sizes and as many numbers as these ask for."""
    tensor = tensor_of(model, rng)
    shape = list(tensor.dims)
    if shape:
        shape[int(rng.integers(len(shape)))] = int(rng.integers(0, 9))
    numbers = rng.standard_normal(shape).astype(np.float32)
    replacement = helper.make_tensor(tensor.name, 1, shape, numbers.tobytes(), raw=True)
    tensor.CopyFrom(replacement)


def cut_data(model: ModelProto, rng: Generator) -> None:
    """Give a weight too few or too many bytes."""
    tensor = tensor_of(model, rng)
    raw = tensor.raw_data or bytes(4 * max(1, int(np.prod(tensor.dims))))
    for field in ("float_data", "int64_data", "int32_data", "double_data"):
        tensor.ClearField(field)
    tensor.raw_data = raw[: int(rng.integers(len(raw) + 1))] if rng.random() < 0.6 else raw * 2


def change_type(model: ModelProto, rng: Generator) -> None:
    """Declare another element type of a weight."""
    tensor_of(model, rng).data_type = one_of(rng, TYPES)


def change_numbers(model: ModelProto, rng: Generator) -> None:
    """Set numbers of a weight to unlikely ones."""
    tensor = tensor_of(model, rng)
    if tensor.data_type != TensorProto.FLOAT:
        return change_dims(model, rng)
    if tensor.raw_data:
        numbers = np.frombuffer(tensor.raw_data, np.float32).copy()
    else:
        numbers = np.array(tensor.float_data, np.float32)
    if numbers.size:
        chosen = rng.random(numbers.size) < one_of(rng, (0.01, 0.3, 1.0))
        numbers[chosen] = np.float32(number(rng))
        numbers[int(rng.integers(numbers.size))] = np.float32(number(rng))
    tensor.ClearField("float_data")
    tensor.raw_data = numbers.tobytes()
    return None


def move_out(model: ModelProto, rng: Generator) -> None:
    """Say that a weight lies in another file."""
    tensor = tensor_of(model, rng)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    places = (text(rng), "seed.data", ".", "seed.onnx", "link")
    entries = {"location": one_of(rng, places)}
    if rng.random() < 0.7:
        entries |= {"offset": str(integer(rng)), "length": str(integer(rng))}
    del tensor.external_data[:]
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)


def make_sparse(model: ModelProto, rng: Generator) -> None:
    """Store a weight as a sparse one, perhaps with indices beyond its shape."""
    index = int(rng.integers(len(model.graph.initializer)))
    tensor = TensorProto()
    tensor.CopyFrom(model.graph.initializer[index])
    del model.graph.initializer[index]
    values = helper.make_tensor(tensor.name, 1, [2], [1.0, 2.0])
    at = [0, integer(rng)]
    indices = helper.make_tensor(f"{tensor.name}_indices", 7, [2], at)
    sparse = helper.make_sparse_tensor(values, indices, list(tensor.dims))
    model.graph.sparse_initializer.append(sparse)
