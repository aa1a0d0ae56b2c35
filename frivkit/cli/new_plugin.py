"""``frivkit new-plugin``: write a plugin project that can be installed and passes its tests."""

from pathlib import Path
from shlex import quote

import click

from frivkit.errors import UsageError
from frivkit.kit.kinds import KINDS


class _KindName(click.Choice[str]):
    """The name of a kind, or of its hook."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name of the kind."""
        of_hook = {kind.hook: name for name, kind in KINDS.items()}
        return super().convert(of_hook.get(value, value), param, ctx)


@click.command("new-plugin")
@click.argument("name")
@click.option(
    "--kind",
    type=_KindName(list(KINDS)),
    required=True,
    help="What the plugin offers, or the hook that it implements.",
)
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the project, empty or new [NAME].",
)
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def command(*, name: str, kind: str, folder: Path | None) -> None:
    """Write the project of a plugin NAME, with tests that pass.

    NAME is that of the distribution, lower-case words with hyphens such as frivkit-label-entropy.
    Users of the plugin write it without frivkit-.
    """
    from frivkit.kit import PluginNames, project_files, write_project

    names = PluginNames.of(name)
    _check_offer(names.offer, names.package, kind)
    folder = Path(name) if folder is None else folder
    contents = project_files(names, kind)
    write_project(folder, contents)
    click.echo(f"{folder}: {kind} {names.offer}, {len(contents)} files")
    install = 'python -m pip install --editable ".[test]"'
    click.echo(f"next: cd {quote(str(folder))}; {install}; python -m pytest")


def _check_offer(offer: str, package: str, kind: str) -> None:
    """Raise an error if another plugin has an offer of this name, which would then be ambiguous.

    Raises:
        UsageError: one has.
    """
    from frivkit.cli import COMMANDS
    from frivkit.hooks.registry import installed

    owners = ["frivkit"] if kind == "command" and offer in COMMANDS else []
    for plugin in installed().plugins:
        known = {each.name for each in plugin.offers.get(KINDS[kind].hook, ())}
        owners += [plugin.name] if offer in known and plugin.name != package else []
    if owners:
        raise UsageError(f"{owners[0]} offers a {kind} {offer} already; give another name")
