"""ONNX Runtime sessions.  Nothing else in frivkit touches ONNX Runtime."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from frivkit.errors import ModelError, is_out_of_memory, one_line
from frivkit.graph.model import digest
from frivkit.graph.onnx_io.limits import LARGEST_INLINE
from frivkit.interrupts import stoppable
from frivkit.runtime.binding import BoundRuns
from frivkit.runtime.providers import PROVIDERS, gpu_names, provider_of, unusable
from frivkit.runtime.shared_weights import hand_over, inline_bytes

Feeds = Mapping[str, NDArray[Any]]
"""Arrays by the names of inputs, examples first."""

QUANTIZED = ("QuantizeLinear", "DynamicQuantizeLinear")
"""Operators of graphs whose activations are whole numbers."""


FOLDER = "session.model_external_initializers_file_folder_path"
"""The option that says where the files lie which a graph in memory names."""


@dataclass(frozen=True, slots=True)
class Device:
    """Where sessions run: ``"cpu"`` or ``"cuda"``, and how many threads one run may use."""

    name: str = "cpu"
    threads: int | None = None

    @property
    def fingerprint(self) -> str:
        """What results may depend on: runtime version, execution provider, and kinds of GPU."""
        gpus = gpu_names() if self.name == "cuda" else ()
        provider = PROVIDERS.get(self.name, self.name)
        return " ".join([f"onnxruntime {ort.__version__} {provider}", *gpus])


class Session:
    """One graph, ready to run: one in memory, or a file as it is.

    Args:
        model: The graph or the file.
        device: Where it runs.
        optimized_to: A file to which the graph is written as ONNX Runtime has optimised it.
        profile_to: The beginning of the name of a file to which the time of every node in every run
            is written; :meth:`end_profiling` returns the file.
        arena: Whether ONNX Runtime keeps freed memory for its next run, and gives it back, that of
            outputs included, in large pieces only; else outputs can be kept one by one.

    Raises:
        DeviceError: the device asked for is not there; ONNX Runtime would silently take the CPU.
        ModelError: ONNX Runtime cannot load the graph.
    """

    def __init__(
        self,
        model: ir.Model | Path,
        device: Device,
        *,
        optimized_to: Path | None = None,
        profile_to: Path | None = None,
        arena: bool = True,
    ) -> None:
        self._made_of, self._arena = (model, device), arena
        provider = provider_of(device.name)
        options = ort.SessionOptions()
        options.log_severity_level = 4  # what goes wrong is raised; nothing is printed
        if device.threads is not None:
            options.intra_op_num_threads = device.threads
        if optimized_to is not None:
            options.optimized_model_filepath = str(optimized_to)
        if profile_to is not None:
            options.enable_profiling, options.profile_file_prefix = True, str(profile_to)
        options.enable_cpu_mem_arena = arena
        if device.name != "cpu":
            options.use_deterministic_compute = True
        ort.set_default_logger_severity(4)
        exact = isinstance(model, ir.Model) and any(n.op_type in QUANTIZED for n in model.graph)
        if exact:  # without it, 8-bit products saturate on x86 processors that have no VNNI
            options.add_session_config_entry("session.x64quantprecision", "1")
        model, self._weights = _by_reference(model, device, options)
        try:
            self._session = self._open(model, options, provider)
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            if device.name != "cpu" and "CUDA" in str(error) and not is_out_of_memory(error):
                raise unusable(device.name, f"and fails ({one_line(error)})") from error
            if not exact:
                raise _failure("load", error) from error
            self._session = self._inexact(model, options, provider)
        found = self._session.get_providers()[0]
        if found != provider[0]:
            raise unusable(device.name, f"and ONNX Runtime runs on {found}")
        self._bound = None if device.name == "cpu" else BoundRuns(self._session, device.name)

    def __reduce__(self) -> Any:
        """Return what makes it again in another process."""
        model, device = self._made_of
        if isinstance(model, Path):
            return _session_of_file, (model.absolute(), digest([model]), device)
        return partial(Session, arena=self._arena), (model, device)

    def _inexact(self, model: ir.Model | Path, options: Any, provider: Any) -> Any:
        """Open a graph that ONNX Runtime has no exact kernels for, such as QGemm of int8."""
        options.add_session_config_entry("session.x64quantprecision", "0")
        try:
            return self._open(model, options, provider)
        except Exception as error:
            raise _failure("load", error) from error

    @staticmethod
    def _open(model: ir.Model | Path, options: Any, provider: Any) -> Any:
        arguments = {"sess_options": options, "providers": [provider], "enable_fallback": 0}
        if isinstance(model, Path):
            return ort.InferenceSession(str(model), **arguments)
        if inline_bytes(model) < LARGEST_INLINE:
            return ort.InferenceSession(ir.to_proto(model).SerializeToString(), **arguments)
        with tempfile.TemporaryDirectory(prefix="frivkit-") as folder:
            path = Path(folder) / "model.onnx"
            ir.save(model, path, external_data="weights")
            return ort.InferenceSession(str(path), **arguments)

    def run(self, feeds: Feeds, outputs: Sequence[str]) -> list[NDArray[Any]]:
        """Run the graph.

        Args:
            feeds: An array for each input.
            outputs: Names of the outputs wanted.

        Raises:
            ModelError: ONNX Runtime fails, for example for want of memory.
        KeyboardInterrupt: the user interrupts; the run is ended after the node that is running.
        """
        options = ort.RunOptions()
        options.log_severity_level = 4

        def stop() -> None:
            options.terminate = True

        try:
            if self._bound is not None:
                bound = self._bound
                return stoppable(lambda: bound.run(outputs, feeds, options), stop)
            return stoppable(
                lambda: list(self._session.run(list(outputs), dict(feeds), options)), stop
            )
        except Exception as error:
            time.sleep(0)  # lets Python raise KeyboardInterrupt, if that is why the run ended
            raise _failure("run", error) from error

    def end_profiling(self) -> Path:
        """Return the file of the profile, which is complete from now on."""
        return Path(self._session.end_profiling())


def _by_reference(
    model: ir.Model | Path, device: Device, options: Any
) -> tuple[ir.Model | Path, list[Any]]:
    """Hand over large weights by reference; return the graph, and what must live with a session."""
    if isinstance(model, Path) or device.name != "cpu" or options.optimized_model_filepath:
        return model, []
    found = hand_over(model)
    copied, kept = (
        [ort.OrtValue.ortvalue_from_numpy(array) for array in arrays.values()]
        for arrays in (found.copied, found.kept)
    )
    if copied:
        options.add_external_initializers(list(found.copied), copied)
    if found.folder is not None:
        options.add_session_config_entry(FOLDER, str(found.folder))
        options.add_session_config_entry("session.disable_prepacking", "1")  # packing is copying
    for name, value in zip(found.kept, kept, strict=True):
        options.add_initializer(name, value)
    return found.model, [*copied, *kept]


def _session_of_file(path: Path, sha256: str, device: Device) -> Session:
    """Return a session of a file that another process looked at.

    Raises:
        ModelError: the file is not there, or has other content.
    """
    found = digest([path]) if path.exists() else None
    if found != sha256:
        state = "not there" if found is None else "of other content there"
        raise ModelError(
            f"a worker needs {path}, which is {state}: every worker must see the same files under "
            "the same paths"
        )
    return Session(path, device)


def _failure(action: str, error: Exception) -> ModelError:
    """Return the error for a model that cannot be run or loaded."""
    why = one_line(error)
    if is_out_of_memory(error):
        return ModelError(
            f"out of memory: ONNX Runtime cannot {action} the model ({why}); give a smaller "
            "--memory, which makes batches smaller, or smaller examples"
        )
    return ModelError(f"ONNX Runtime cannot {action} the model: {why}")
