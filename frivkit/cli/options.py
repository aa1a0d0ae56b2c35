"""The options of every command that reads a model, and their values."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from frivkit.cli.completion import complete_joins, offers
from frivkit.cli.output import one_line
from frivkit.cli.progress import TerminalProgress
from frivkit.cli.terminal import tell
from frivkit.errors import UsageError

if TYPE_CHECKING:
    from frivkit.cache import Cache
    from frivkit.measure.pipeline import Request
    from frivkit.progress import Progress

_OPTIONS = (
    click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True),
    click.option(
        "--threads",
        type=click.IntRange(1, 1024),
        help="Threads of one task: of runs side by side, or of one run.",
    ),
    click.option(
        "--engine",
        default="local",
        show_default=True,
        shell_complete=offers("engines"),
        metavar="SPEC",
        help="Where tasks run: local, processes:N, or another; see 'frivkit plugins'.",
    ),
    click.option(
        "--memory",
        default=None,
        show_default="2GiB, or 512MiB for each process",
        help="Limit on what the command takes, with its weights and all its processes.",
    ),
    click.option(
        "--cache",
        "cache_dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder of the cache.",
    ),
    click.option("--no-cache", is_flag=True, help="Neither read nor write the cache."),
    click.option("--trust", is_flag=True, help="Read formats that can run code, such as .pt."),
    click.option(
        "--input-shape",
        help="Sizes that the file leaves open, such as 1x3x32x32, or 1x3x32x32,1x10:int64; n is "
        "the axis of the examples, as in 7xnx40.",
    ),
    click.option(
        "--input",
        "inputs",
        multiple=True,
        metavar="NAME=VALUE",
        help="The value of an input that has no axis for examples, such as sr=16000; a list is "
        "written mask=1,1,0.",
    ),
    click.option("--output-name", help="The output that holds the logits."),
    click.option(
        "--label-axis",
        type=int,
        help="The axis of the output along which classes lie; the batch is axis 0.  [1, or that of "
        "a softmax at the end]",
    ),
    click.option(
        "--task",
        shell_complete=offers("tasks"),
        metavar="NAME",
        help="How outputs are compared, such as classify, multilabel, regress, embed, segment, "
        "heatmap, detect or generate; see 'frivkit plugins'.  [by their names and shapes]",
    ),
    click.option(
        "--regression",
        type=click.FloatRange(0, min_open=True),
        metavar="SHARE",
        help="The task regress: a number that changes by more than SHARE of its standard "
        "deviation counts as changed.  [0.1]",
    ),
    click.option("--no-progress", is_flag=True, help="Show no progress."),
    click.option("-q", "--quiet", is_flag=True, help="Write nothing but errors to stderr."),
    click.option("-v", "--verbose", is_flag=True, help="Write more to stderr."),
    click.option("--debug", is_flag=True, help="Show the traceback of an error."),
)
join_option = click.option(
    "--join",
    "joined",
    multiple=True,
    shell_complete=complete_joins,
    metavar="GLOB",
    help="Analyse the output of a concat as one layer; '' for none [those that the model names].",
)
"""The option of the commands that do not write a model."""


@dataclass(frozen=True, slots=True)
class CommonOptions:
    """The values of the shared options."""

    device: str
    threads: int | None
    engine: str
    memory: str | None
    cache_dir: Path | None
    no_cache: bool
    trust: bool
    input_shape: str | None
    inputs: tuple[str, ...]
    output_name: str | None
    label_axis: int | None
    task: str | None
    regression: float | None
    no_progress: bool
    quiet: bool
    verbose: bool
    debug: bool

    def request(
        self, model: Path, progress: "Progress", *, seed: int = 0, **more: Any
    ) -> "Request":
        """Return the request for a model.

        Raises:
            DeviceError: no engine has the name of ``--engine``.
            UsageError: ``--memory`` is no size, or is 0, or ``--input`` is malformed.
        """
        from frivkit.cache import parse_size
        from frivkit.engines.open import open_engine
        from frivkit.graph.onnx_io.given_inputs import parse_given
        from frivkit.measure.pipeline import Request
        from frivkit.runtime.execution import Execution, default_memory
        from frivkit.runtime.labels import LabelOptions

        engine = open_engine(self.engine)
        memory = default_memory(engine) if self.memory is None else parse_size(self.memory)
        if memory == 0:
            raise UsageError(f"--memory is {self.memory}; give a size above 0, such as 500MB")
        return Request(
            model=model,
            output=self.output_name,
            input_shape=self.input_shape,
            inputs=dict(map(parse_given, self.inputs)),
            trust=self.trust,
            execution=Execution(
                device=self.device,
                memory=memory,
                whole=memory,
                threads=self.threads,
                seed=seed,
                progress=progress,
                engine=engine,
                labels=LabelOptions(self.label_axis, self.regression, self.task),
            ),
            **more,
        )

    def cache(self) -> "Cache":
        """Return the cache, or with ``--no-cache`` one that stores nothing."""
        from frivkit.cache import Cache

        if self.no_cache:
            return Cache(None)
        return Cache.open_default(self.cache_dir, warn=self.info)

    def info(self, message: str) -> None:
        """Write a line to stderr, unless ``--quiet`` is given."""
        if not self.quiet:
            tell(one_line(message), "yellow" if message.startswith("warning:") else None)

    def info_if_verbose(self, message: str) -> None:
        """Write a line to stderr if ``--verbose`` is given."""
        if self.verbose:
            self.info(message)

    def progress(self) -> TerminalProgress:
        """Return a progress bar on stderr, hidden if stderr is closed or no terminal."""
        return TerminalProgress(hidden=self.no_progress or self.quiet)


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of every command that reads a model, passed as one argument ``common``."""

    @wraps(command)
    def with_common(**values: Any) -> Any:
        shared = {name: values.pop(name) for name in CommonOptions.__slots__}
        with warnings.catch_warnings():
            if shared["quiet"]:
                warnings.simplefilter("ignore")  # a plugin's, or those of what it calls
            return command(common=CommonOptions(**shared), **values)

    for option in reversed(_OPTIONS):
        with_common = option(with_common)
    return with_common
