"""What click does not bring about the values of options: types, and a check for absent values."""

from collections.abc import Iterator, Sequence
from itertools import pairwise, takewhile
from typing import Literal

import click

from frivkit.errors import UsageError


class Shares(click.ParamType[tuple[float, ...]]):
    """Shares in (0, 1], one or several with commas."""

    name = "share"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Return the shares, each once, in the order given."""
        if isinstance(value, tuple):
            return value
        shares = []
        for text in str(value).split(","):
            try:
                share = float(text)
            except ValueError:
                self.fail(f"{text!r} is no number; give a share such as 0.5", param, ctx)
            if not 0 < share <= 1:
                self.fail(f"{text.strip()} is not in the range 0<x<=1.", param, ctx)
            shares.append(share)
        return tuple(dict.fromkeys(shares))


class Multiple(click.ParamType[int | Literal["auto"]]):
    """``auto``, ``none`` (which is 1), or a number of which widths are multiples."""

    name = "auto|none|n"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | Literal["auto"]:
        """Return the number, or ``"auto"``."""
        if value == "auto":
            return "auto"
        if value == "none":
            return 1
        try:
            number = int(str(value))
        except ValueError:
            self.fail(f"{value!r} is not auto, none or a number", param, ctx)
        if number < 1:
            self.fail(f"{number} is not in the range x>=1.", param, ctx)
        return number


class Ratio(click.ParamType[tuple[str, float]]):
    """A pattern of layers and the share of units that they keep."""

    name = "glob=share"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        """Return the pattern and the share."""
        if isinstance(value, tuple):
            return value
        pattern, equals, text = str(value).rpartition("=")
        try:
            share = float(text)
        except ValueError:
            share = 0.0
        if not (pattern and equals and 0 < share <= 1):
            self.fail(f"{value!r} is no pattern with a share; give such as 'conv*=0.5'", param, ctx)
        return pattern, share


def check_values(command: click.Command, arguments: Sequence[str]) -> None:
    """Raise if an option's value was forgotten, so that the next option stands in its place.

    Click takes whatever follows as the value: ``--json --quiet`` would write a file ``--quiet``.

    Args:
        command: The command, or a group of commands.
        arguments: The arguments behind its name.

    Raises:
        UsageError: an option that takes a value is followed by an option.

    Example:
        >>> option = click.Option(["--json"])
        >>> check_values(click.Command("show", params=[option]), ["--json", "-"])
    """
    options = list(_options(command))
    names = {name for option in options for name in (*option.opts, *option.secondary_opts)}
    valued = {n for option in options if not (option.is_flag or option.count) for n in option.opts}
    for name, value in pairwise(takewhile(lambda argument: argument != "--", arguments)):
        if name in valued and value in {*names, "--help", "-h"}:
            raise UsageError(
                f"{name} takes a value, and the option {value} stands in its place; give the "
                f"value behind {name}, or write {name}={value} if that is meant"
            )


def _options(command: click.Command) -> Iterator[click.Option]:
    """Yield the options of a command, and of the commands in it."""
    yield from (each for each in command.params if isinstance(each, click.Option))
    if isinstance(command, click.Group):
        for each in command.commands.values():
            yield from _options(each)
