"""How a model is run: where, within which bounds, and with which seed."""

from dataclasses import dataclass, field

from frivkit.documents.parts import ExecutionPart
from frivkit.engines.engine import Engine, LocalEngine
from frivkit.progress import Progress, Silent
from frivkit.runtime.labels import LabelOptions
from frivkit.runtime.runner import Runner
from frivkit.runtime.session import Device

EACH = 512 << 20
"""Bytes of each process, at least, if nobody says how many they may take together."""


@dataclass(frozen=True, slots=True)
class Execution:
    """How models are run.

    Attributes:
        device: ``"cpu"`` or ``"cuda"``.
        memory: Bytes that activations, and what is computed of them, may take in each task.
        threads: Threads of one run; None leaves it to the engine, and that to ONNX Runtime.
        seed: The seed of all random choices.
        progress: Where progress is reported.
        labels: How labels are read from the output.
        engine: Where tasks run, such as the batches of a data set.
        whole: Bytes that all processes together may take, program and weights included, of which
            ``memory`` is worked out when a model is opened; None bounds only tasks.

    Example:
        >>> execution = Execution(threads=1)
        >>> execution.placement
        Device(name='cpu', threads=1)
    """

    device: str = "cpu"
    memory: int = 2 << 30
    threads: int | None = None
    seed: int = 0
    progress: Progress = field(default_factory=Silent)
    labels: LabelOptions = field(default_factory=LabelOptions)
    engine: Engine = field(default_factory=LocalEngine)
    whole: int | None = None

    @property
    def placement(self) -> Device:
        """The device and the threads of one session."""
        return Device(self.device, self.engine.threads if self.threads is None else self.threads)

    @property
    def processes(self) -> int:
        """How many processes share the memory: this one, and the workers of this machine."""
        return processes_with(self.engine)

    @property
    def runner(self) -> Runner:
        """A runner over the batches of a data set."""
        return Runner(self.engine, self.progress)

    @property
    def ran(self) -> ExecutionPart:
        """Threads of a task, and the number of tasks by the kind of machine, for provenance."""
        return {"threads": self.placement.threads, "machines": dict(self.engine.machines)}


def processes_with(engine: Engine) -> int:
    """Return how many processes of this machine work with an engine, this one included."""
    return 1 + (engine.workers if getattr(engine, "shares_memory", False) else 0)


def default_memory(engine: Engine) -> int:
    """Return the bytes that all processes may take if nobody says how many.

    Example:
        >>> default_memory(LocalEngine()) >> 30
        2
    """
    return max(2 << 30, processes_with(engine) * EACH)
