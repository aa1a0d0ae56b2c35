"""What commands share: the options of every command that reads a model, and where results go."""

import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from frivkit.errors import FrivkitError, UsageError

if TYPE_CHECKING:
    from frivkit.cache import Cache
    from frivkit.measure.pipeline import Request
    from frivkit.progress import Progress

_OPTIONS = (
    click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True),
    click.option("--threads", type=click.IntRange(1, 1024), help="Threads of one run."),
    click.option(
        "--memory", default="2GiB", show_default=True, help="Bound on activations in memory."
    ),
    click.option(
        "--cache",
        "cache_dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder of the cache.",
    ),
    click.option("--no-cache", is_flag=True, help="Keep nothing, reuse nothing."),
    click.option("--trust", is_flag=True, help="Read formats that can run code, such as .pt."),
    click.option(
        "--input-shape",
        help="Sizes that the file leaves open, such as 1x3x32x32, or 1x3x32x32,1x10:int64.",
    ),
    click.option("--output-name", help="The output that holds the logits."),
    click.option(
        "--label-axis",
        type=int,
        default=1,
        show_default=True,
        help="The axis of the output that classes lie on, the batch being 0.",
    ),
    click.option(
        "--regression",
        type=click.FloatRange(0, min_open=True),
        metavar="SHARE",
        help="The output holds numbers, which count as changed by more than SHARE of their spread.",
    ),
    click.option("--no-progress", is_flag=True, help="Show no progress."),
    click.option("-q", "--quiet", is_flag=True, help="Nothing on stderr but errors."),
    click.option("-v", "--verbose", is_flag=True, help="Say more on stderr."),
    click.option("--debug", is_flag=True, help="Show the traceback of an error."),
)
join_option = click.option(
    "--join",
    "joined",
    multiple=True,
    metavar="GLOB",
    help="Take what a concat joins as one layer; '' joins none [those that the model names].",
)
"""The option of commands that look at a model and leave it as it is."""


@dataclass(frozen=True, slots=True)
class CommonOptions:
    """The values of the shared options."""

    device: str
    threads: int | None
    memory: str
    cache_dir: Path | None
    no_cache: bool
    trust: bool
    input_shape: str | None
    output_name: str | None
    label_axis: int
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
            UsageError: ``--memory`` is no size, or is nothing.
        """
        from frivkit.cache import parse_size
        from frivkit.measure.pipeline import Request
        from frivkit.runtime.execution import Execution
        from frivkit.runtime.labels import LabelOptions

        memory = parse_size(self.memory)
        if memory == 0:
            raise UsageError(f"--memory is {self.memory}; give a size above 0, such as 500MB")
        return Request(
            model=model,
            output=self.output_name,
            input_shape=self.input_shape,
            trust=self.trust,
            execution=Execution(
                device=self.device,
                memory=memory,
                threads=self.threads,
                seed=seed,
                progress=progress,
                labels=LabelOptions(self.label_axis, self.regression),
            ),
            **more,
        )

    def cache(self) -> "Cache":
        """Open the cache, or one that keeps nothing."""
        from frivkit.cache import Cache

        if self.no_cache:
            return Cache(None)
        return Cache.open_default(self.cache_dir, warn=self.say)

    def say(self, message: str) -> None:
        """Tell the user something that is no result."""
        if not self.quiet:
            click.echo(f"frivkit: {one_line(message)}", err=True)

    def explain(self, message: str) -> None:
        """Tell a user who asked for more what is going on."""
        if self.verbose:
            self.say(message)

    def progress(self) -> "TerminalProgress":
        """Return a progress display on stderr, silent when stderr is no terminal (or is closed)."""
        terminal = sys.stderr is not None and sys.stderr.isatty()
        return TerminalProgress(hidden=self.no_progress or self.quiet or not terminal)


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of every command that reads a model, handed on as one ``common``."""

    @wraps(command)
    def with_common(**given: Any) -> Any:
        shared = {name: given.pop(name) for name in CommonOptions.__slots__}
        with warnings.catch_warnings():
            if shared["quiet"]:
                warnings.simplefilter("ignore")  # a plugin's, or those of what it calls
            return command(common=CommonOptions(**shared), **given)

    for option in reversed(_OPTIONS):
        with_common = option(with_common)
    return with_common


class TerminalProgress:
    """A progress bar on stderr."""

    def __init__(self, *, hidden: bool) -> None:
        self._hidden = hidden
        self._bar: Any = None

    def start(self, what: str, steps: int) -> None:
        """Begin a task of so many steps."""
        self.finish()
        if not self._hidden:
            bar = click.progressbar(length=max(1, steps), label=f"{what:<24.24}", file=sys.stderr)
            self._bar = bar.__enter__()

    def advance(self, steps: int = 1) -> None:
        """Say that steps are done."""
        if self._bar is not None:
            self._bar.update(steps)

    def finish(self) -> None:
        """End the task."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None


def check_places(*places: Path | str | None, model: Path | None = None) -> None:
    """Refuse places that nothing can be written to, before the work rather than after it.

    Args:
        places: Where results are to go; None is nowhere and ``-`` is stdout.
        model: The file that is read, which no result may take the place of.

    Raises:
        UsageError: a place has no name, two are the same, or one is the model.
        FrivkitError: the folder is not there or cannot be written to, or the place is a folder.
    """
    if "" in places:
        raise UsageError("a result is to be written to a file without a name; give one, or '-'")
    paths = [Path(place) for place in places if place is not None and place != "-"]
    seen = [model.resolve()] if model is not None else []
    for path in paths:
        if not path.parent.is_dir():
            raise FrivkitError(f"{path} cannot be written: there is no folder {path.parent}")
        if path.is_dir():
            raise FrivkitError(f"{path} cannot be written: it is a folder; give a file in it")
        if path.resolve() in seen:
            raise UsageError(f"{path} is the model or another result too; give another file")
        if not _is_special(path):
            seen.append(path.resolve())
        if not os.access(path if _is_special(path) else path.resolve().parent, os.W_OK):
            raise FrivkitError(f"{path} cannot be written: no permission; give another place")


def write_json(document: Mapping[str, Any], where: str) -> None:
    """Write a document as JSON to a file, or to stdout for ``-``.

    Raises:
        FrivkitError: the file cannot be written; an older one of that name is left as it was.
    """
    text = json.dumps(document, indent=2, allow_nan=False)
    if where == "-":
        click.echo(text)
    else:
        write_text(Path(where), text + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text, in UTF-8, as :func:`write_bytes` does."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or nothing: to a temporary name first, then renamed.

    A link stays a link, and what is no regular file (a pipe, ``/dev/null``) is written to.

    Raises:
        FrivkitError: the file cannot be written; an older one of that name is left as it was.
    """
    try:
        if _is_special(path):
            path.write_bytes(content)
        else:
            _replace(path.resolve(), content)
    except OSError as error:
        raise FrivkitError(f"{path} cannot be written: {error.strerror or error}") from error


def _is_special(path: Path) -> bool:
    """Whether a path is there and no regular file, so that it must not be replaced by one."""
    return path.exists() and not path.is_file()


def _replace(path: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def one_line(message: object) -> str:
    r"""Return a message as one line that no terminal takes for commands.

    Messages hold names out of files, which are whatever their authors wrote.

    Example:
        >>> one_line("a layer\n named \x1b[2J")
        'a layer named ?[2J'
    """
    return "".join(c if c.isprintable() else "?" for c in " ".join(str(message).split()))


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
