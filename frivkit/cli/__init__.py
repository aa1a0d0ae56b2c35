"""The command line.  This file only lists commands; each one's own file is imported on use."""

import importlib
import sys
from typing import NoReturn

import click

import frivkit
from frivkit.errors import FrivkitError

COMMANDS = {
    "analyze": "Measure how much of a model is frivolous.",
    "inspect": "Show what of a model is analysed, what is not, and why.",
    "train": "Train a small network and write it as ONNX.",
    "demo": "Train, inspect and analyse a network, in under a minute.",
    "plugins": "List plugins, what they offer, and which failed to load.",
    "cache": "List, prune or clear the cache.",
    "doctor": "Check this installation and say what is wrong with it.",
}


class _Commands(click.Group):
    """Commands by name, imported when used; plugins add theirs with the hook ``cli_commands``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return [*COMMANDS, *_offered()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name in COMMANDS:
            command: click.Command = importlib.import_module(f"frivkit.cli.{cmd_name}").command
            return command
        if cmd_name in _offered():
            from frivkit.registry import installed

            found: click.Command = installed().load("cli_commands", cmd_name)
            return found
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items(), *_offered().items()])


def _offered() -> dict[str, str]:
    """Give the commands that plugins offer; ours cannot be taken over."""
    from frivkit.registry import installed

    offers = installed().offers("cli_commands")
    return {name: offer.summary for name, offer in offers.items() if name not in COMMANDS}


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(frivkit.__version__, prog_name="frivkit")
def cli() -> None:
    """Tell how much of a trained network is frivolous, and take it out."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    0 is done, 1 not possible, 2 a wrong command line, 3 no such device, 130 interrupted.  This is
    the one place where errors become messages: one line on stderr, and the traceback as well with
    ``--debug``.
    """
    given = sys.argv[1:] if arguments is None else arguments
    try:
        code = cli.main(args=given, prog_name="frivkit", standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.UsageError as error:
        where = f" (see '{error.ctx.command_path} --help')" if error.ctx else ""
        _fail(f"{error.format_message()}{where}", 2, given)
    except click.ClickException as error:
        _fail(error.format_message(), 1, given)
    except FrivkitError as error:
        _fail(str(error), error.exit_code, given)
    except (KeyboardInterrupt, click.Abort):
        _fail("interrupted; nothing is half-written, and results that were finished are kept for the next run", 130, given)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except MemoryError as error:
        _fail(f"out of memory ({error}); give a smaller --memory or fewer --examples", 1, given)
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}", 1, given)
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        _fail(
            f"a bug in frivkit or a plugin: {text}; run again with --debug and report it", 1, given
        )
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int, given: list[str]) -> NoReturn:
    if "--debug" in given and sys.exc_info()[0] is not None:
        import traceback

        traceback.print_exc()
    click.echo(f"frivkit: {' '.join(message.split())}", err=True)
    sys.exit(code)


__all__ = ["COMMANDS", "cli", "main"]
