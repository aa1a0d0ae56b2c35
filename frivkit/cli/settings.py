"""Options that are not on the command line: from ``FRIVKIT_*`` variables, or from a project file.

The command line wins over the environment, the environment over the project file, and the file
over the default.  In the environment and in the file, what is said for one command wins over what
is said for all.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from frivkit.documents.parts import SettingPart
from frivkit.errors import PluginError, UsageError, unknown_name

FILE = "frivkit.toml"
"""The project file that is looked for in the current folder."""
PREFIX = "FRIVKIT"
COMMAND_LINE_ONLY = ("config", "debug", "help", "version")
"""Options that have no variable and no key."""
RUNS_CODE = ("trust",)
"""Options that a file may not set: a folder of somebody else's must not let a model run code."""
WRITES_FILES = ("figure", "force", "json", "node-data", "output", "report", "save-plan", "table")
"""Options that it may not set either: nor must it choose which of the user's files are replaced."""
_OLDER = {"cache": "FRIVKIT_CACHE_DIR"}
"""Variables for all commands that are named otherwise than their option."""

_parsed: ContextVar[click.Context | None] = ContextVar("parsed", default=None)


def with_settings(command: click.Command, name: str) -> click.Command:
    """Let a command take options from variables and from a project file.

    Args:
        command: The command; one with an option ``--config`` of its own is left as it is.
        name: What users call it.
    """
    if not any("--config" in parameter.opts for parameter in command.params):
        command.params.append(_config_option())
        _name_variables(command, (name,))
    return command


def given_by_settings() -> list[SettingPart]:
    """Return the options of this run that are not from the command line nor defaults.

    Returns:
        ``option``, its ``value`` as text, and its ``source``: a variable or a file.
    """
    found: list[SettingPart] = []
    context = _parsed.get()
    if context is None:
        return found
    for option in _options(context.command):
        given = context.get_parameter_source(option.name or "")
        if given is ParameterSource.ENVIRONMENT:
            source = next((each for each in option.envvar or () if os.environ.get(each)), PREFIX)
            value = os.environ.get(source, "")
        elif given is ParameterSource.DEFAULT_MAP:
            value, source = _text(context.lookup_default(option.name or "")), _file_of(context)
        else:
            continue
        found.append({"option": f"--{_key(option)}", "value": value, "source": source})
    return found


def origin_of(message: str) -> str:
    """Return which settings a message is about, as an addition to it; empty if none is.

    Example:
        >>> origin_of("--memory is lots")
        ''
    """
    named = [
        f"{each['option']} is from {each['source']}"
        for each in given_by_settings()
        if each["option"] in message or (len(each["value"]) > 1 and each["value"] in message)
    ]
    return f" ({', '.join(named)})" if named else ""


def forget() -> None:
    """Forget the settings of an earlier run in this process."""
    _parsed.set(None)


def _config_option() -> click.Option:
    return click.Option(
        ["--config"],
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        is_eager=True,  # read before the options that it has values for
        expose_value=False,
        callback=_apply,
        help=f"Project file with values of options  [{FILE} in the current folder]",
    )


def _apply(context: click.Context, _: click.Parameter, given: Path | None) -> None:
    """Take the values of a project file as those of options that are not given otherwise."""
    if context.resilient_parsing:  # to complete a word no file is needed
        return
    _parsed.set(context)
    path = given or context.find_root().params.get("config")
    if path is None and os.path.lexists(FILE):
        path = Path(FILE)
    if path is not None:
        context.meta[__name__] = str(path)
        names = context.command_path.split()[1:]
        context.default_map = _values(context.command, names, _read(path), str(path))


def _name_variables(command: click.Command, names: tuple[str, ...]) -> None:
    for option in _options(command):
        key = _key(option)
        words = [PREFIX, *names, key]
        if option.envvar is None:
            own = "_".join(words).upper().replace("-", "_")
            of_all = _OLDER.get(key, f"{PREFIX}_{key}".upper().replace("-", "_"))
            option.envvar = [own, of_all]
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            if not any("--config" in parameter.opts for parameter in inner.params):
                inner.params.append(_config_option())
            _name_variables(inner, (*names, name))


def _options(command: click.Command) -> Iterator[click.Option]:
    for parameter in command.params:
        if isinstance(parameter, click.Option) and _key(parameter) not in COMMAND_LINE_ONLY:
            yield parameter


def _key(option: click.Option) -> str:
    """Return the name of an option without its hyphens: the longest, if it has several."""
    return max(option.opts, key=len).lstrip("-")


def _read(path: Path) -> Mapping[str, Any]:
    """Return the table of a project file.

    Raises:
        UsageError: it cannot be read, or is no TOML.
    """
    import tomllib

    from frivkit.files import read_regular

    try:
        return tomllib.loads(read_regular(path).decode())
    except OSError as error:
        raise UsageError(f"the project file {path} cannot be read: {error.strerror}") from error
    except RecursionError:
        raise UsageError(f"the project file {path} is nested too deeply; write it flat") from None
    except ValueError as error:  # no UTF-8, no TOML, or a number of thousands of digits
        raise UsageError(f"the project file {path} is no TOML: {error}") from error


def _values(
    command: click.Command, names: list[str], table: Mapping[str, Any], path: str
) -> dict[str, Any]:
    """Return the values of a command's options by the names of their arguments."""
    for_all = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    tables = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    _check_names(for_all, tables, path)
    here: Mapping[str, Any] = tables
    for name in names:
        inner = here.get(name, {})
        here = inner if isinstance(inner, Mapping) else {}
    known = {_key(option): option for option in _options(command)}
    inner_names = getattr(command, "commands", {})
    for key in here if names else ():
        if key not in known and key not in inner_names:
            raise _unknown(f"option of {' '.join(names)}", key, known, path)
    values = {key: value for key, value in {**for_all, **here}.items() if key in known}
    return {known[key].name or "": _value(known[key], v, path) for key, v in values.items()}


def _check_names(for_all: Mapping[str, Any], tables: Mapping[str, Any], path: str) -> None:
    """Raise an error if a name in a project file is that of no command or option at all."""
    from frivkit.cli import cli

    root, known = click.Context(cli), set()
    commands = cli.list_commands(root)
    for name in tables:
        if name not in commands:
            raise _unknown("command", name, commands, path)
    for name in commands if for_all else ():
        with suppress(PluginError):  # a command that cannot be loaded is not the one that is run
            command = cli.get_command(root, name)
            known |= {_key(each) for each in _all_options(command)} if command else set()
    for key in for_all:
        if key not in known:
            raise _unknown("option", key, known, path)


def _all_options(command: click.Command) -> Iterator[click.Option]:
    yield from _options(command)
    for inner in getattr(command, "commands", {}).values():
        yield from _all_options(inner)


def _unknown(kind: str, name: str, known: Any, path: str) -> UsageError:
    return UsageError(f"the project file {path}: {unknown_name(kind, name, known)}")


def _value(option: click.Option, value: Any, path: str) -> Any:
    """Return the value of an option as click takes it from a command line.

    Raises:
        UsageError: it is of another type, or a file may not set the option.
    """
    key = _key(option)
    if key in (*RUNS_CODE, *WRITES_FILES):
        does = "lets a model run code" if key in RUNS_CODE else "decides what is written"
        variable = f"{PREFIX}_{key}".upper().replace("-", "_")
        raise UsageError(
            f"the project file {path} sets {key}, which {does}: a file may not; give --{key} on "
            f"the command line, or {variable}"
        )
    if option.is_flag:
        if not isinstance(value, bool):
            raise UsageError(f"the project file {path}: {key} is {value!r}; write true or false")
        return value
    several = value if isinstance(value, list) else [value]
    if not all(
        isinstance(each, str | int | float) and not isinstance(each, bool) for each in several
    ):
        raise UsageError(f"the project file {path}: {key} is {value!r}; write a text or a number")
    texts = [str(each) for each in several]
    if option.multiple:
        return texts
    if isinstance(value, list):
        raise UsageError(f"the project file {path}: {key} is a list; write one text or number")
    return texts[0]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return " ".join(value) if isinstance(value, list) else str(value)


def _file_of(context: click.Context) -> str:
    return str(context.meta.get(__name__, FILE))
