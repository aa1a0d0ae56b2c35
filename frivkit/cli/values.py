"""Types of option values that click does not bring."""

from typing import Literal

import click


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
