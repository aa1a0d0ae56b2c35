"""A plugin project as files: templates are modules that run, in which names are replaced."""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path

import frivkit
from frivkit.errors import FrivkitError, UsageError
from frivkit.files import temporary_name, write_errors
from frivkit.kit.kinds import KINDS
from frivkit.kit.names import PluginNames

_PROJECT = {
    "init.py": "{package}/__init__.py",
    "plugin.py": "{package}/plugin.py",
    "test_plugin.py": "tests/test_plugin.py",
    "project.toml": "pyproject.toml",
    "README.txt": "README.md",
    "gitignore.txt": ".gitignore",
}
"""Where the templates that all kinds share go."""


def project_files(names: PluginNames, kind: str) -> dict[str, str]:
    """Return the text of each file of a project, by its path in the project's folder.

    Args:
        names: The names of the plugin.
        kind: One of :data:`~frivkit.kit.kinds.KINDS`.

    Raises:
        UsageError: there is no such kind.

    Example:
        >>> sorted(project_files(PluginNames.of("frivkit-dice"), "planner"))[2:5]
        ['frivkit_dice/__init__.py', 'frivkit_dice/planner.py', 'frivkit_dice/plugin.py']
    """
    if kind not in KINDS:
        from frivkit.errors import unknown_name

        raise unknown_name("kind of plugin", kind, KINDS)
    words = _words(names, kind)
    pattern = re.compile("|".join(map(re.escape, words)))

    def filled(text: str) -> str:
        return pattern.sub(lambda match: words[match[0]], text)

    templates = files("frivkit.kit") / "templates"
    places = {f"project/{name}": place for name, place in _PROJECT.items()}
    places[f"kinds/{kind}.py"] = "{package}/" + f"{kind}.py"
    places[f"tests/test_{kind}.py"] = f"tests/test_{kind}.py"
    if kind == "recipe":
        places["kinds/recipe.toml"] = "{package}/recipe.toml"
    return {
        place.format(package=names.package): filled((templates / name).read_text("utf-8"))
        for name, place in places.items()
    }


def _words(names: PluginNames, name: str) -> dict[str, str]:
    """Return what the words of the templates are replaced by."""
    kind = KINDS[name]
    requirements = sorted([_supported(), *kind.requires])
    use = kind.use.replace("its-name", names.offer)
    return {
        "frivkit_mine": names.package,
        "frivkit-mine": names.distribution,
        "its-name": names.offer,
        "its_kind": name,
        "its_hook": kind.hook,
        "its_target": kind.target,
        "its summary": kind.summary,
        "Its summary": kind.summary[0].upper() + kind.summary[1:],
        "its_requirements": ", ".join(map(json.dumps, requirements)),
        "its_use": use,
    }


def _supported() -> str:
    """Return the releases of frivkit that have the hooks of this one, as a requirement."""
    major, minor, *_ = (int(part) for part in frivkit.__version__.split(".")[:2])
    following = f"0.{minor + 1}" if major == 0 else str(major + 1)
    return f"frivkit>={frivkit.__version__},<{following}"


def write_project(folder: Path, contents: Mapping[str, str]) -> None:
    """Write a project to a folder that is empty or not there, all of it or nothing.

    Args:
        folder: The folder.
        contents: The text of each file, by its path in the folder.

    Raises:
        UsageError: the folder holds something, or is no folder.
        FrivkitError: it cannot be written.
    """
    check_free(folder)
    target = folder.resolve()  # "." has no name
    temporary = temporary_name(target)
    with write_errors(folder), _removed_afterwards(temporary):
        for place, text in contents.items():
            path = temporary / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8", newline="\n")
        if target.exists():
            _move_into(temporary, target)
        else:
            temporary.replace(target)


def check_free(folder: Path) -> None:
    """Raise an error unless a project can be written to a folder.

    Raises:
        UsageError: the folder holds something, or is no folder.
        FrivkitError: the folder around it is missing.
    """
    if folder.is_dir():
        if any(folder.iterdir()):
            raise UsageError(f"the folder {folder} is not empty; give another name, or -o DIR")
    elif os.path.lexists(folder):
        raise UsageError(f"{folder} is there and is no folder; give another name, or -o DIR")
    elif not folder.parent.is_dir():
        raise FrivkitError(f"{folder} cannot be written: there is no folder {folder.parent}")


@contextlib.contextmanager
def _removed_afterwards(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move_into(source: Path, target: Path) -> None:
    """Move what a folder holds into an empty one; leave that empty if this is interrupted."""
    moved: list[Path] = []
    try:
        for item in sorted(source.iterdir()):
            moved.append(target / item.name)
            item.replace(target / item.name)
    except BaseException:
        for path in moved:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        raise
