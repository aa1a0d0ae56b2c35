"""What commands share: the options of every command that reads a model, and where results go."""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from frivkit.cache import Cache
    from frivkit.pipeline import Request

_OPTIONS = (
    click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True),
    click.option("--threads", type=click.IntRange(min=1), help="Threads of one run."),
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
    click.option("--engine", type=click.Choice(["local"]), default="local", show_default=True),
    click.option("--trust", is_flag=True, help="Read formats that can run code."),
    click.option("--input-shape", help="Sizes that the file leaves open, such as 1x3x32x32."),
    click.option("--output-name", help="The output that holds the logits."),
    click.option("--no-progress", is_flag=True, help="Show no progress."),
    click.option("-q", "--quiet", is_flag=True, help="Nothing on stderr but errors."),
    click.option("-v", "--verbose", is_flag=True, help="Say more on stderr."),
    click.option("--debug", is_flag=True, help="Show the traceback of an error."),
)


@dataclass(frozen=True, slots=True)
class Common:
    """The values of the shared options."""

    device: str
    threads: int | None
    memory: str
    cache_dir: Path | None
    no_cache: bool
    engine: str
    trust: bool
    input_shape: str | None
    output_name: str | None
    no_progress: bool
    quiet: bool
    verbose: bool
    debug: bool

    def request(self, model: Path, **more: Any) -> "Request":
        """Give the request for a model."""
        from frivkit.cache import parse_size
        from frivkit.engine.session import Device
        from frivkit.pipeline import Request

        return Request(
            model=model,
            output=self.output_name,
            input_shape=self.input_shape,
            trust=self.trust,
            device=Device(self.device, self.threads),
            memory=parse_size(self.memory),
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
            click.echo(f"frivkit: {message}", err=True)

    def progress(self) -> "TerminalProgress":
        """Give a progress display on stderr, silent when stderr is no terminal."""
        return TerminalProgress(hidden=self.no_progress or self.quiet or not sys.stderr.isatty())


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of every command that reads a model, handed on as one ``common``."""

    @wraps(command)
    def with_common(**given: Any) -> Any:
        shared = {name: given.pop(name) for name in Common.__slots__}
        return command(common=Common(**shared), **given)

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


def write_json(document: Mapping[str, Any], where: str) -> None:
    """Write a document as JSON to a file, or to stdout for ``-``.

    Raises:
        OSError: the file cannot be written; an older one of that name is left as it was.
    """
    text = json.dumps(document, indent=2, allow_nan=False)
    if where == "-":
        click.echo(text)
    else:
        write_text(Path(where), text + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing: to a temporary name first, then renamed."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
