"""``frivkit doctor``: check this installation."""

import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from frivkit.cli.output import check_places, one_line, write_json
from frivkit.cli.progress import TerminalProgress
from frivkit.cli.terminal import show
from frivkit.errors import FrivkitError
from frivkit.progress import stage

OK, NOTE, BAD = "ok", "note", "bad"


@click.command("doctor")
@click.option(
    "--cache",
    "cache_dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the cache.",
)
@click.option("--json", "json_to", help="Write JSON to a file, or to stdout for '-'.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(*, cache_dir: Path | None, json_to: str | None, debug: bool) -> int:
    """Check this installation; exit code 1 if anything is wrong."""
    del debug  # read by main
    check_places(json_to)
    with stage(TerminalProgress(hidden=False), "checking"):
        results = [*_packages(), *_runtime(), *_plugins(), *_cache(cache_dir)]
    if json_to:
        checks = [{"state": state, "what": what} for state, what in results]
        write_json({"schema": "frivkit.doctor/1", "checks": checks}, json_to)
    if json_to != "-":
        show("\n".join(f"{state:<5}{one_line(what)}" for state, what in results))
    return 1 if any(state == BAD for state, _ in results) else 0


Checks = Iterator[tuple[str, str]]


def _packages() -> Checks:
    from frivkit.provenance import package_versions

    for name, number in package_versions().items():
        yield OK, f"{name} {number}"
    both = [name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name)]
    if len(both) == 2:
        yield (
            BAD,
            "onnxruntime and onnxruntime-gpu are both installed and share their files: "
            "pip uninstall -y onnxruntime onnxruntime-gpu, then install one of them",
        )
    elif not both:
        yield BAD, "neither onnxruntime nor onnxruntime-gpu is installed: pip install frivkit again"
    if not _installed("torch"):
        yield NOTE, "torch is not installed: 'frivkit train' cannot work"


def _runtime() -> Checks:
    try:
        from frivkit.runtime.selftest import run_once
    except Exception as error:  # a broken onnxruntime raises errors of any class
        yield BAD, f"onnxruntime cannot be imported: {' '.join(str(error).split())[:200]}"
        return
    for device in ("cpu", "cuda"):
        problem = run_once(device)
        if problem is None:
            yield OK, f"device {device} runs a model"
        else:
            yield (BAD if device == "cpu" else NOTE), f"device {device}: {problem}"
    yield OK, f"{os.cpu_count()} processors"


def _plugins() -> Checks:
    from frivkit.hooks.registry import installed

    try:
        plugins = installed().plugins
    except FrivkitError as error:  # FRIVKIT_LOAD_PLUGINS names one that is not installed
        yield BAD, str(error)
        return
    for plugin in plugins:
        if plugin.error:
            yield BAD, f"plugin {plugin.name} ({plugin.distribution}): {plugin.error}"
        else:
            yield OK, f"plugin {plugin.name} ({plugin.distribution} {plugin.version})"


def _cache(directory: Path | None) -> Checks:
    from frivkit.cache import Cache, format_size

    try:
        cache = Cache.open_default(directory)
        size = sum(stored.bytes for stored in cache.entries())
    except FrivkitError as error:  # its limit is no size, or its folder cannot be read
        yield BAD, str(error)
        return
    root = cache.root
    if root is None:
        return
    existing = next(path for path in [root, *root.parents] if path.exists())
    writable = os.access(existing, os.W_OK) and existing.is_dir()
    state = f"cache {root}: {format_size(size)} of {format_size(cache.limit)}"
    yield (OK, state) if writable else (BAD, f"{state}, but it cannot be written to")


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
