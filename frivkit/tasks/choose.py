"""Choose a task for each output of a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from frivkit.errors import ModelError, UsageError
from frivkit.graph.model import Model
from frivkit.hooks.registry import Registry, installed
from frivkit.runtime.labels import LabelOptions
from frivkit.runtime.output_check import way_out
from frivkit.tasks.classify import CLASSIFY, ClassLabels
from frivkit.tasks.doubt import OutputValues, claim_of_values, is_doubtful
from frivkit.tasks.outputs import model_outputs
from frivkit.tasks.task import Claim, Comparer, Evidence, ModelOutput, Task


@dataclass(frozen=True, slots=True, eq=False)
class OutputTask:
    """A task, for the outputs of a model that it compares together.

    Attributes:
        name: The name of the task, such as ``"classify"``.
        outputs: The names of the outputs, in the order in which the comparer reads them.
        compares: What is counted, in words, such as "labels".
        reason: Why this task, in words.
        comparer: What reads and compares the outputs.
        options: How the user wants outputs read.
        task: The task.
        guess: Whether it may well be another one, so that a user should be told.
    """

    name: str
    outputs: tuple[str, ...]
    compares: str
    reason: str
    comparer: Comparer
    options: LabelOptions
    task: Task
    guess: bool = False

    def reader_of(self, model: Model, outputs: Sequence[str]) -> Comparer:
        """Return what reads another model's outputs of the same meaning.

        Args:
            model: The other model.
            outputs: The names of its outputs, in the order of these.
        """
        known = {output.name: output for output in model_outputs(model)}
        return self.task.comparer([known[name] for name in outputs], self.options)

    @property
    def fingerprint(self) -> str:
        """What predictions depend on beside the first output: empty for classes along axis 1."""
        if isinstance(self.comparer, ClassLabels) and self.name == "classify":
            axis = self.comparer.reader.axis
            return "" if axis == 1 else f"{axis} None"
        return f"{self.name} {self.outputs} {self.options.axis} {self.options.tolerance}"

    @property
    def axis(self) -> int | None:
        """The axis along which classes lie, None if the task has none."""
        reader = getattr(self.comparer, "reader", None)
        return None if reader is None else int(reader.axis)

    @property
    def tolerance(self) -> float | None:
        """The share of its standard deviation that a number may change by, None for labels."""
        found: float | None = getattr(self.comparer, "tolerance", None)
        return found


def choose_tasks(
    model: Model,
    options: LabelOptions,
    requested: str | None = None,
    registry: Registry | None = None,
    values: OutputValues = lambda name: None,
) -> tuple[OutputTask, ...]:
    """Choose a task for every output of a model.

    Of all claims the one with the strongest evidence is taken first, then of those to other outputs
    the next one.  The task that the user names has the outputs that the user names, and those for
    which nothing speaks; naming the axis of classes names ``classify``.

    Args:
        model: The model, its shapes known as far as they can be.
        options: How the user wants outputs read.
        requested: The output that the user asks for; None takes the first.
        registry: Where tasks are found; None takes the installed plugins.
        values: Called with the name of an output whose shape leaves open what it holds; gives what
            it is for some examples, None if that is not known.

    Returns:
        The tasks: first that of the requested output, the others in the order of the file.

    Raises:
        ModelError: there is no such output, none is a tensor of numbers, or the requested one has
            other rows for other examples, which no task reads.
        UsageError: no plugin offers the task, or it does not fit the output.
    """
    registry = registry or installed()
    outputs = {output.name: output for output in model_outputs(model)}
    main = model.output(requested)
    if not outputs:
        raise ModelError(
            f"no output of {model.path.name} is a tensor of numbers, so that nothing can be "
            "compared; give a model with one"
        )
    named = options.task or (None if options.axis is None else "classify")
    tasks = {name: registry.load("tasks", name) for name in registry.offers("tasks")}
    tasks.setdefault("classify", CLASSIFY)
    if named is not None and named not in tasks:
        tasks[named] = registry.load("tasks", named)  # raises, or is a full name
    claims = [
        (claim, name)
        for name, task in tasks.items()
        for claim in task.claims(tuple(outputs.values()), model.inputs)
        if task.reads_varying or not any(outputs[each].varying for each in claim.outputs)
    ]
    taken: dict[str, tuple[Claim, str]] = {}
    if named is not None:
        claim = _claim_of(named, main, claims, outputs)
        taken |= dict.fromkeys(claim.outputs, (claim, named))
    elif main in outputs and not any(main in claim.outputs for claim, _ in claims):
        raise ModelError(
            f"output {main!r} of {model.path.name} has other rows for other examples, and no task "
            f"reads boxes in it; {way_out(model, main)}"
        )
    judged = [
        claim_of_values(output, values(name))
        for name, output in outputs.items()
        if name not in taken and is_doubtful(output) and not _is_clear(name, claims)
    ]
    claims = [*(each for each in judged if each[1] in tasks), *claims]
    place = {name: at for at, name in enumerate(outputs)}

    def order(each: tuple[Claim, str]) -> tuple[int, bool, int, str]:
        claim, name = each
        return (-claim.evidence, name != named, place[claim.outputs[0]], name)

    for claim, name in sorted(claims, key=order):
        if claim.evidence == Evidence.NONE and name not in ("classify", named):
            continue  # it can read the outputs, and nothing says that it should
        if not any(output in taken for output in claim.outputs):
            taken |= dict.fromkeys(claim.outputs, (claim, name))
    chosen = dict.fromkeys(taken.values())
    ordered = sorted(
        chosen, key=lambda each: (main not in each[0].outputs, place[each[0].outputs[0]])
    )
    own = replace(options, axis=None)  # the axis was given for the requested output
    return tuple(
        _opened(tasks[name], name, claim, outputs, options if main in claim.outputs else own)
        for claim, name in ordered
    )


def _claim_of(
    named: str,
    main: str,
    claims: Sequence[tuple[Claim, str]],
    outputs: Mapping[str, ModelOutput],
) -> Claim:
    """Return the strongest claim of the task that the user names to the main output."""
    own = [claim for claim, name in claims if name == named and main in claim.outputs]
    if not own:
        shape = "unknown shape" if main not in outputs else f"shape {_shape(outputs[main])}"
        raise UsageError(
            f"the task {named} does not fit output {main!r}, which has {shape}; give another "
            "--task, or another output by --output-name"
        )
    best = max(own, key=lambda claim: (claim.evidence, len(claim.outputs)))
    return Claim(best.outputs, best.evidence, "it was asked for")


def _is_clear(output: str, claims: Sequence[tuple[Claim, str]]) -> bool:
    """Whether more than its shape speaks for a task of an output."""
    own = (claim.evidence for claim, _ in claims if output in claim.outputs)
    return max(own, default=Evidence.NONE) > Evidence.SHAPE


def _shape(output: ModelOutput) -> str:
    if output.shape is None:
        return "(unknown)"
    return f"({', '.join('?' if size is None else str(size) for size in output.shape)})"


def _opened(
    task: Task,
    name: str,
    claim: Claim,
    outputs: Mapping[str, ModelOutput],
    options: LabelOptions,
) -> OutputTask:
    comparer = task.comparer([outputs[each] for each in claim.outputs], options)
    return OutputTask(
        name, claim.outputs, task.compares, claim.reason, comparer, options, task, claim.guess
    )
