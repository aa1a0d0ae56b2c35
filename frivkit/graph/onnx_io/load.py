"""Read an ONNX file: checked, weights mapped from disk, shapes inferred."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx.external_data_helper import uses_external_data
from onnx_ir.external_data import set_base_dir

from frivkit.errors import FrivkitError, ModelError, one_line
from frivkit.files import check_utf8, real_path
from frivkit.graph.interface import Interface
from frivkit.graph.model import Model, digest, external_files, external_tensor, signature
from frivkit.graph.names import node_label
from frivkit.graph.onnx_io.given_inputs import Numbers
from frivkit.graph.onnx_io.inference_mode import use_inference_mode
from frivkit.graph.onnx_io.ordering import sort_nodes
from frivkit.graph.onnx_io.passes import READING_PASSES, ReadRequest
from frivkit.graph.onnx_io.sparse import write_out_sparse
from frivkit.graph.onnx_io.tensor_data import check_tensors
from frivkit.mapped_pages import watch

ATTENTIONS = ("Attention", "GroupQueryAttention", "MultiHeadAttention")
HEAD_COUNTS = ("kv_num_heads", "num_heads", "q_num_heads")
"""Attributes with numbers of heads."""

NUMPY_TYPES = frozenset(
    {
        *(ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BOOL),
        *(ir.DataType.INT8, ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64),
        *(ir.DataType.UINT8, ir.DataType.UINT16, ir.DataType.UINT32, ir.DataType.UINT64),
    }
)
"""Number types that numpy knows, too."""


def read(
    path: Path,
    input_shape: str | None = None,
    *,
    given: Mapping[str, Numbers] | None = None,
    scalars: Mapping[str, float] | None = None,
    name: str | None = None,
) -> Model:
    """Read the ONNX model at ``path``.

    Args:
        path: An ONNX file; external data lies beside it.
        input_shape: Sizes that the file leaves open, as in ``--input-shape``: all axes of an
            input, the batch (which stays open) in front.  One shape must fit each input that has
            open sizes; several are for the inputs in turn.
        given: Numbers for inputs that have no axis for examples, as in ``--input``, by name.
        scalars: Single numbers of the data by name, for inputs that take one number and have none.
        name: The name of the file in messages about its inputs; that of ``path`` if None.

    Returns:
        The model.  Weights are mapped, not read: a 3 GB file costs some tens of megabytes.

    Raises:
        ModelError: the file is missing, not ONNX, truncated, invalid, or without a usable input.
        UsageError: numbers are given for an input that is not there or takes others.
    """
    if not path.is_file():
        state = "is a folder or a device" if path.exists() else "does not exist"
        raise ModelError(f"model file {path} {state}; give the path of an .onnx file")
    check_utf8(path, ModelError)
    try:
        return _read(path, input_shape, given or {}, scalars or {}, name or path.name)
    except FrivkitError:
        raise
    except Exception as error:  # onnx, protobuf and onnx_ir share no base class
        raise ModelError(
            f"{path} cannot be read as ONNX: {one_line(_cause(error))}; give a complete .onnx file"
        ) from error


def detach(model: Model) -> Model:
    """Make a model independent of its files of external data, which may then be removed.

    They stay mapped, and take up disk space as long as the model is in use.

    Args:
        model: A model that :func:`read` returned and nothing else uses; its graph is changed.
    """
    for tensor, replace in _external(model.ir):
        replace(ir.Tensor(tensor.numpy(), dtype=tensor.dtype, shape=tensor.shape, name=tensor.name))
        watch(tensor.raw)
    return model


def moved(model: Model, path: Path) -> Model:
    """Return a model whose file, with its external data, was moved to another folder.

    Args:
        model: A model that :func:`read` returned; its graph is changed.
        path: Where the file is now.
    """
    for tensor, _ in _external(model.ir):
        tensor.base_dir = path.parent
    return dataclasses.replace(model, path=path)


def _read(
    path: Path,
    input_shape: str | None,
    given: Mapping[str, Numbers],
    scalars: Mapping[str, float],
    name: str,
) -> Model:
    model = _checked(path, name)
    check_tensors(model, name)
    _check_heads(model, name)
    if len(model.graph.outputs) == 0:
        raise ModelError(f"{name} has no outputs: there is nothing to measure")
    _check_places(path, external_files(model))
    sha256 = digest([path, *external_files(model)])
    for tensor, replace in _external(model):
        replace(_lazy(tensor, path))
    for stored, replace in _tensors(model):
        if isinstance(stored, ir.serde.TensorProtoTensor) and stored.dtype in NUMPY_TYPES:
            replace(_in_numpy(stored))
    note = use_inference_mode(model)
    request = ReadRequest(input_shape, given, Interface.of(model), scalars)
    changes = [rewrite(model, request) for rewrite in READING_PASSES]
    inputs, batch = signature(model.graph, name)
    return Model(
        ir=model,
        path=path,
        format="onnx",
        sha256=sha256,
        inputs=inputs,
        batch=batch,
        metadata=dict(model.metadata_props),
        changes=tuple(change for change in changes if change is not None),
        interface=request.interface,
        notes=(*(() if note is None else (note,)), *request.notes),
    )


def _check_heads(model: ir.Model, name: str) -> None:
    """Refuse attentions without heads: ONNX Runtime divides by their number and ends the process.

    Raises:
        ModelError: a node has none.
    """
    for node in model.graph.all_nodes():
        for count in HEAD_COUNTS if node.op_type in ATTENTIONS else ():
            given = node.attributes.get(count)
            if given is not None and given.as_int() < 1:
                raise ModelError(
                    f"{name}: {node_label(node)} has {count} {given.as_int()}, and an attention "
                    "has one head or more; export the model again"
                )


def _checked(path: Path, name: str) -> ir.Model:
    """Read a file that ONNX's checker accepts, or accepts when its nodes are sorted."""
    proto = None
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError:
        proto = onnx.load(path, load_external_data=False)
        if not sort_nodes(proto.graph, name):
            raise
        _check_sorted(proto)
    if proto is None:
        proto = onnx.load(path, load_external_data=False)
    write_out_sparse(proto, name)
    _declare_outputs_as_inputs(proto.graph)
    model: ir.Model = ir.from_proto(proto)
    set_base_dir(model.graph, path.absolute().parent)
    return model


def _declare_outputs_as_inputs(graph: onnx.GraphProto) -> None:
    """Declare outputs that are inputs as these are: they are one tensor, whose sizes may be open.

    What is declared of an output would count for the input as well.
    """
    inputs = {value.name: value for value in graph.input}
    for value in graph.output:
        if value.name in inputs:
            value.CopyFrom(inputs[value.name])


def _check_sorted(proto: onnx.ModelProto) -> None:
    """Check a model in memory; weights in files of their own are given as inputs instead."""
    checked = onnx.ModelProto()
    checked.CopyFrom(proto)
    tensors = [each for each in proto.graph.initializer if not uses_external_data(each)]
    external = [each for each in proto.graph.initializer if uses_external_data(each)]
    listed = {value.name for value in proto.graph.input}
    del checked.graph.initializer[:]
    checked.graph.initializer.extend(tensors)
    checked.graph.input.extend(
        onnx.helper.make_tensor_value_info(each.name, each.data_type, each.dims)
        for each in external
        if each.name not in listed
    )
    onnx.checker.check_model(checked)


Replace = Callable[[ir.TensorProtocol], None]


def _external(model: ir.Model) -> Iterator[tuple[ir.ExternalTensor, Replace]]:
    """Return each external tensor, and a function that puts another tensor in its place."""
    for tensor, replace in _tensors(model):
        if (external := external_tensor(tensor)) is not None:
            yield external, replace


def _tensors(model: ir.Model) -> Iterator[tuple[ir.TensorProtocol, Replace]]:
    """Return each constant tensor, and a function that puts another tensor in its place."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value.const_value, partial(setattr, value, "const_value")
        for attributes in (node.attributes for node in graph if node.op_type == "Constant"):
            if "value" in attributes:
                yield attributes["value"].as_tensor(), partial(_replace_attribute, attributes)


def _in_numpy(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    """Return a tensor of the file as an array.

    A tensor of a protobuf copies its numbers whenever they are asked for, and one such tensor keeps
    all bytes of the file in memory.
    """
    return ir.Tensor(
        tensor.numpy(), dtype=tensor.dtype, name=tensor.name, doc_string=tensor.doc_string
    )


def _replace_attribute(attributes: MutableMapping[str, ir.Attr], tensor: ir.TensorProtocol) -> None:
    attributes["value"] = ir.AttrTensor("value", tensor)


class _MappedTensor(ir.LazyTensor):
    """An external tensor that is mapped when it is used, and whose pages may be dropped.

    ONNX Runtime gets graphs as bytes, which have no folder that a file name could lead to.
    """

    def numpy(self) -> NDArray[Any]:
        """Return the numbers."""
        array: NDArray[Any] = super().numpy()
        external = self.raw()
        watch(external.raw if isinstance(external, ir.ExternalTensor) else None)
        return array

    def tofile(self, file: Any) -> None:
        """Write the numbers to a file."""
        self.numpy()
        super().tofile(file)


def _lazy(tensor: ir.ExternalTensor, path: Path) -> ir.LazyTensor:
    """Return an external tensor as one that is read when it is used."""
    _check_extent(tensor, path)
    return _MappedTensor(lambda: tensor, dtype=tensor.dtype, shape=tensor.shape, name=tensor.name)


def _check_places(path: Path, files: Iterable[Path]) -> None:
    """Raise an error if weights lie outside the model's folder, as a linked folder leads to."""
    folder = real_path(path.parent)
    for file in files:
        if not real_path(file).is_relative_to(folder):
            raise ModelError(
                f"{path} wants weights of {file}, which leads out of the folder of the model; "
                "copy the file there"
            )


def _check_extent(tensor: ir.ExternalTensor, path: Path) -> None:
    """Raise an error if a file of weights is shorter than the model says."""
    first, file_bytes = tensor.offset or 0, Path(tensor.path).stat().st_size
    length = tensor.nbytes if tensor.length is None else tensor.length
    if first < 0 or length < tensor.nbytes or first + length > file_bytes:
        raise ModelError(
            f"{path} wants {tensor.nbytes} bytes of {tensor.path} for {tensor.name!r}, of which it "
            f"names {length} from {first} while there are {file_bytes}; give the file saved with it"
        )


def _cause(error: BaseException) -> BaseException:
    """Return the first error of a chain: onnx_ir wraps it in messages that say where it was."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return error if before is None else _cause(before)
