"""The command line: a list of commands; the file of a command is imported when it is used."""

import importlib
import io
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

import frivkit
from frivkit.cli.output import one_line
from frivkit.cli.settings import FILE, forget, given_by_settings, origin_of, with_settings
from frivkit.cli.terminal import columns_of, tell
from frivkit.cli.values import check_values
from frivkit.errors import FrivkitError, is_out_of_memory, unknown_name
from frivkit.interrupts import giving_up
from frivkit.provenance import command_line
from frivkit.report.layout import room
from frivkit.warning_lines import warnings_as_lines

COMMANDS = {
    "analyze": "Measure how much of a model is frivolous.",
    "inspect": "Show the layers that can be analysed, and the nodes that cannot, with reasons.",
    "activations": "Write the activations of layers to an HDF5 file.",
    "compress": "Write a smaller model, and verify it against the original.",
    "verify": "Compare a compressed model with the original.",
    "advise": "Say which width holds the units that networks of one family use.",
    "compare": "Show analyses of several networks side by side, with differences.",
    "train": "Train a small network and write it as ONNX.",
    "sweep": "Train and measure all networks of an experiment.",
    "figure": "Draw a figure of the paper from the results of a sweep.",
    "demo": "Train, analyse and compress a network, in under a minute.",
    "plugins": "List plugins, their offers, and which failed to load.",
    "new-plugin": "Write the project of a plugin, with tests that pass.",
    "cache": "List, prune or clear the cache.",
    "doctor": "Check this installation.",
}


class Program(click.Command):
    """A command that has a program of its own, such as ``python -m package``; see :func:`main`."""

    def invoke(self, ctx: click.Context) -> Any:
        # Click would make "interrupted" of both, and print an empty line first.
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.Abort from None
        except EOFError as error:
            raise RuntimeError(f"EOFError: {error}") from error


class _Commands(Program, click.Group):
    """The commands by name, imported when used; plugins add theirs with ``cli_commands``."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            name, command, rest = super().resolve_command(ctx, args)
        except click.UsageError:
            if args[0].startswith("-"):
                raise
            raise unknown_name("command", args[0], self.list_commands(ctx)) from None
        if command is not None:
            check_values(command, rest)
        return name, command, rest

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return [*COMMANDS, *_offered()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name in COMMANDS:
            module = importlib.import_module(f"frivkit.cli.{cmd_name.replace('-', '_')}")
            command: click.Command = module.command
            return with_settings(command, cmd_name)
        if cmd_name in _offered():
            from frivkit.hooks.registry import installed

            offered: click.Command = installed().load("cli_commands", cmd_name)
            return with_settings(offered, cmd_name)
        return None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = {**COMMANDS, **_offered()}.items()  # without importing each for its help
        named = [CompletionItem(n, help=text) for n, text in found if n.startswith(incomplete)]
        return [*named, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items(), *_offered().items()])


def _offered() -> dict[str, str]:
    """Return the commands that plugins offer; they cannot replace built-in ones."""
    from frivkit.hooks.registry import installed

    offers = installed().offers("cli_commands")
    return {name: offer.summary for name, offer in offers.items() if name not in COMMANDS}


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="FRIVKIT_CONFIG",
    metavar="FILE",
    help=f"Project file with values of options  [{FILE} in the current folder]",
)
@click.version_option(frivkit.__version__, prog_name="frivkit")
def cli(config: Path | None) -> None:
    """Measure how much of a trained network is frivolous, and remove it."""
    del config  # read by the options --config of the commands


def main(
    arguments: list[str] | None = None, program: click.Command = cli, name: str = "frivkit"
) -> NoReturn:
    """Run the command line and exit.

    Args:
        arguments: The words after the program's name; None for those of this process.
        program: The commands of frivkit, or a :class:`Program`.
        name: The name of the program in messages about its use.

    Exit codes: 0 success, 1 failure, 2 wrong command line, 3 missing device, 4 requirement
    not met, 130 interrupted.  Only
    this function turns errors into messages: one line on stderr, after the traceback with
    ``--debug``.
    """
    given = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # some terminals cannot show a bar or a name
            stream.reconfigure(errors="replace")
    if "_FRIVKIT_COMPLETE" in os.environ:
        importlib.import_module("frivkit.cli.shells")
    try:
        forget()
        with (
            command_line(given, given_by_settings),
            giving_up(_give_up),
            _warnings(given),
            room(columns_of(sys.stdout)),
        ):
            code = program.main(args=given, prog_name=name, standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(2)
    except (KeyboardInterrupt, Exception) as error:
        message, exit_code = _failure(error, given)
        if "--debug" in given:
            import traceback

            traceback.print_exc()
        tell(one_line(message), "red")
        sys.exit(exit_code)
    sys.exit(code if isinstance(code, int) else 0)


def _warnings(given: list[str]) -> AbstractContextManager[None]:
    """Show warnings as single lines, or as Python does with ``--debug``."""
    if "--debug" in given:
        return nullcontext()
    return warnings_as_lines(lambda text: tell(f"warning: {one_line(text)}", "yellow"))


def _give_up() -> None:
    """End the program where a library goes on after Ctrl-C; files are whole at any moment."""
    sys.stderr.write("frivkit: interrupted; no file is incomplete\n")
    sys.stderr.flush()
    os._exit(130)


def _failure(error: BaseException, given: list[str]) -> tuple[str, int]:
    """Return the message and the exit code of an error."""
    message, code = f"{type(error).__name__}: {error}", 1
    match error:
        case FrivkitError():
            message, code = f"{error}{origin_of(str(error))}", error.exit_code
        case click.UsageError():
            where = f" (see '{error.ctx.command_path} --help')" if error.ctx else ""
            message = error.format_message()
            message, code = f"{message}{origin_of(message)}{where}", 2
        case click.ClickException():
            message = error.format_message()
        case KeyboardInterrupt() | click.Abort():
            cached = "analyze" in given and "--no-cache" not in given
            also = ", and finished results are kept for the next run" if cached else ""
            message, code = f"interrupted; no file is incomplete{also}", 130
        case _ if is_out_of_memory(error):
            why = f" ({one_line(error)[:200]})" if str(error) else ""
            message = f"out of memory{why}; give a smaller --memory or fewer --examples"
        case OSError():
            where = error.filename or "standard output or a file"
            message = f"cannot read or write {where}: {error.strerror or error}"
        case _:
            message = (
                f"a bug in frivkit or a plugin: {message}; run again with --debug and report it"
            )
    return message, code


__all__ = ["COMMANDS", "cli", "main"]
